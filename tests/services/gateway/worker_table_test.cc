#include "services/gateway/worker_table.h"

#include <gtest/gtest.h>

namespace lckv::gateway {
namespace {

class ManualClock final : public Clock {
 public:
  absl::Time Now() override { return now; }
  absl::Time now = absl::FromUnixSeconds(1000);
};

class WorkerTableTest : public ::testing::Test {
 protected:
  v1::LoadReport Report(const std::string& id,
                        v1::LoadReport::State state = v1::LoadReport::READY) {
    v1::LoadReport report;
    report.set_worker_id(id);
    report.set_state(state);
    return report;
  }
  void AddHot(v1::LoadReport& report, const std::string& session,
              const std::string& tenant = "default") {
    v1::SessionKey* key = report.add_hot_sessions();
    key->set_tenant(tenant);
    key->set_session_id(session);
  }

  ManualClock clock_;
  WorkerTable table_{2, absl::Seconds(3), &clock_};
};

TEST_F(WorkerTableTest, AWorkerIsDeadUntilItReportsAndAfterItsStreamBroke) {
  EXPECT_EQ(table_.StateOf("a"), WorkerState::kDead);
  table_.Apply(0, Report("a"));
  EXPECT_EQ(table_.StateOf("a"), WorkerState::kReady);
  table_.MarkBroken(0);
  EXPECT_EQ(table_.StateOf("a"), WorkerState::kDead);
  EXPECT_EQ(table_.IndexOf("a"), 0u);
  EXPECT_EQ(table_.IndexOf("b"), std::nullopt);
  EXPECT_EQ(table_.IndexOf(""), std::nullopt);
}

TEST_F(WorkerTableTest, StatesFollowTheReports) {
  table_.Apply(0, Report("a", v1::LoadReport::STARTING));
  EXPECT_EQ(table_.StateOf("a"), WorkerState::kStarting);
  table_.Apply(0, Report("a", v1::LoadReport::DRAINING));
  EXPECT_EQ(table_.StateOf("a"), WorkerState::kDraining);
  table_.Apply(0, Report("a", static_cast<v1::LoadReport::State>(77)));
  EXPECT_EQ(table_.StateOf("a"), WorkerState::kStarting);
}

TEST_F(WorkerTableTest, SilenceMakesAWorkerSuspectUntilItSpeaksAgain) {
  table_.Apply(0, Report("a"));
  clock_.now += absl::Seconds(3);
  EXPECT_EQ(table_.StateOf("a"), WorkerState::kReady);
  clock_.now += absl::Milliseconds(1);
  EXPECT_EQ(table_.StateOf("a"), WorkerState::kSuspect);
  EXPECT_EQ(table_.CountByState()[static_cast<size_t>(WorkerState::kSuspect)], 1);
  EXPECT_EQ(table_.CountByState()[static_cast<size_t>(WorkerState::kDead)], 1);
  table_.Apply(0, Report("a"));
  EXPECT_EQ(table_.StateOf("a"), WorkerState::kReady);
}

TEST_F(WorkerTableTest, LoadCountsWhatWasSentSinceTheReport) {
  v1::LoadReport report = Report("a");
  report.set_running_turns(2);
  report.set_waiting_turns(3);
  report.set_max_waiting_turns(4);
  table_.Apply(0, report);
  table_.NoteAssigned("a");
  table_.NoteAssigned("unknown");
  Placement placement = table_.PlacementOf("default", "s");
  ASSERT_EQ(placement.workers.size(), 2u);
  EXPECT_EQ(placement.workers[0].turns, 6u);
  EXPECT_FALSE(placement.workers[0].queue_full);
  report.set_waiting_turns(4);
  table_.Apply(0, report);
  placement = table_.PlacementOf("default", "s");
  EXPECT_EQ(placement.workers[0].turns, 6u);
  EXPECT_TRUE(placement.workers[0].queue_full);
}

TEST_F(WorkerTableTest, HotSessionsComeAndGo) {
  v1::LoadReport report = Report("a");
  report.set_full_list(true);
  AddHot(report, "s1");
  AddHot(report, "s2");
  table_.Apply(0, report);
  EXPECT_EQ(table_.HolderOf("default", "s1"), "a");
  EXPECT_EQ(table_.HolderOf("other", "s1"), "");

  v1::LoadReport change = Report("a");
  AddHot(change, "s3");
  change.add_dropped_sessions()->set_tenant("default");
  change.mutable_dropped_sessions(0)->set_session_id("s1");
  table_.Apply(0, change);
  EXPECT_EQ(table_.HolderOf("default", "s1"), "");
  EXPECT_EQ(table_.HolderOf("default", "s2"), "a");
  EXPECT_EQ(table_.HolderOf("default", "s3"), "a");
  EXPECT_EQ(table_.PlacementOf("default", "s3").holder, "a");

  v1::LoadReport all = Report("a");
  all.set_full_list(true);
  AddHot(all, "s4");
  table_.Apply(0, all);
  EXPECT_EQ(table_.HolderOf("default", "s2"), "");
  EXPECT_EQ(table_.HolderOf("default", "s4"), "a");

  table_.MarkBroken(0);
  EXPECT_EQ(table_.HolderOf("default", "s4"), "");
}

TEST_F(WorkerTableTest, TheLastClaimCountsAndALateDropDoesNotUndoIt) {
  v1::LoadReport a = Report("a");
  AddHot(a, "s");
  table_.Apply(0, a);
  v1::LoadReport b = Report("b");
  AddHot(b, "s");
  table_.Apply(1, b);
  EXPECT_EQ(table_.HolderOf("default", "s"), "b");
  v1::LoadReport drop = Report("a");
  drop.add_dropped_sessions()->set_tenant("default");
  drop.mutable_dropped_sessions(0)->set_session_id("s");
  table_.Apply(0, drop);
  table_.MarkBroken(0);
  EXPECT_EQ(table_.HolderOf("default", "s"), "b");
}

TEST_F(WorkerTableTest, TheEndOfAnEarlierClaimDoesNotUndoALaterOne) {
  for (const bool broken : {true, false}) {
    v1::LoadReport a = Report("a");
    AddHot(a, "s");
    table_.Apply(0, a);
    v1::LoadReport b = Report("b");
    AddHot(b, "s");
    table_.Apply(1, b);
    if (broken) {
      table_.MarkBroken(0);
    } else {
      table_.Apply(0, Report("c"));
    }
    EXPECT_EQ(table_.HolderOf("default", "s"), "b") << broken;
  }
}

TEST_F(WorkerTableTest, AnotherWorkerAtTheSameAddressInheritsNothing) {
  v1::LoadReport a = Report("a");
  AddHot(a, "s");
  table_.Apply(0, a);
  table_.Apply(0, Report("c"));
  EXPECT_EQ(table_.HolderOf("default", "s"), "");
  EXPECT_EQ(table_.StateOf("a"), WorkerState::kDead);
  EXPECT_EQ(table_.StateOf("c"), WorkerState::kReady);
}

TEST_F(WorkerTableTest, AWorkerThatMovedIsFoundWhereItIsConnected) {
  table_.Apply(0, Report("a"));
  table_.MarkBroken(0);
  table_.Apply(1, Report("a"));
  EXPECT_EQ(table_.IndexOf("a"), 1u);
  EXPECT_EQ(table_.StateOf("a"), WorkerState::kReady);
}

TEST_F(WorkerTableTest, WorkersComeAndGo) {
  v1::LoadReport report = Report("a");
  report.add_hot_sessions()->set_tenant("default");
  report.mutable_hot_sessions(0)->set_session_id("s");
  table_.Apply(0, report);
  table_.Apply(1, Report("b"));
  EXPECT_EQ(table_.Add(), 2u);
  table_.Apply(2, Report("c"));
  table_.Remove(0);
  EXPECT_EQ(table_.IndexOf("a"), std::nullopt);
  EXPECT_EQ(table_.StateOf("a"), WorkerState::kDead);
  EXPECT_EQ(table_.HolderOf("default", "s"), "");
  EXPECT_EQ(table_.IndexOf("b"), 1u);
  EXPECT_EQ(table_.IndexOf("c"), 2u);
  const Placement placement = table_.PlacementOf("default", "s");
  ASSERT_EQ(placement.workers.size(), 2u);
  EXPECT_EQ(placement.workers[0].id, "b");
  EXPECT_EQ(placement.workers[1].id, "c");
  EXPECT_EQ(table_.CountByState()[static_cast<size_t>(WorkerState::kReady)], 2);
  EXPECT_EQ(table_.CountByState()[static_cast<size_t>(WorkerState::kDead)], 0);
  // Numbers are not used again: a late report cannot be another worker's.
  EXPECT_EQ(table_.Add(), 3u);
}

}  // namespace
}  // namespace lckv::gateway
