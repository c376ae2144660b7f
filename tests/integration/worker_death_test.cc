// A worker dies, stops answering or is told to go: its sessions go on elsewhere, as if nothing had
// happened.

#include <signal.h>

#include <memory>
#include <string>
#include <vector>

#include "tests/integration/cluster.h"
#include "tests/integration/conversation.h"
#include "tests/testing/status_matchers.h"

namespace lckv::testing {
namespace {

// Long enough that it cannot be over before the worker is struck.
constexpr uint32_t kLongTurn = 400;
constexpr size_t kStruckAfter = 20;

std::string OtherWorker(const std::string& id) {
  return id == "worker-1" ? "worker-2" : "worker-1";
}

TEST(WorkerDeathTest, BetweenTurns) {
  const std::vector<Turn> turns = TestTurns(4);
  const std::vector<Reply> expected = UndisturbedReplies(turns);
  ASSERT_OK_AND_ASSIGN(auto cluster, Cluster::Start());
  ExpectSameReply(Say(cluster->gateway(), "s", turns[0]), expected[0]);
  ExpectSameReply(Say(cluster->gateway(), "s", turns[1]), expected[1]);
  // The session's pages have arrived: nothing but the moved turn's own input is computed.
  ASSERT_TRUE(WaitUntilPushed(cluster->gateway(), "s"));
  const std::string first = HolderOf(cluster->gateway(), "s");
  ASSERT_NE(first, "");
  cluster->Kill(first);

  const Reply third = Say(cluster->gateway(), "s", turns[2]);
  ExpectSameReply(third, expected[2]);
  EXPECT_EQ(WorkerName(third.done.worker()), OtherWorker(first));
  EXPECT_EQ(third.done.restore_source(), v1::CACHE_NODE);
  EXPECT_EQ(third.done.usage().reencoded_tokens(), 0u);
  EXPECT_GT(third.done.usage().restored_bytes(), 0u);

  // The first worker comes back and the second dies at once: perhaps before its pages are pushed.
  ASSERT_TRUE(cluster->WaitForWorkers(1));
  ASSERT_OK(cluster->Restart(first));
  ASSERT_TRUE(cluster->WaitForWorkers(2));
  cluster->Kill(OtherWorker(first));
  const Reply fourth = Say(cluster->gateway(), "s", turns[3]);
  ExpectSameReply(fourth, expected[3]);
  EXPECT_EQ(WorkerName(fourth.done.worker()), first);
  ExpectNothingLost(cluster->gateway(), "s", 4);
}

class MidStreamTest : public ::testing::TestWithParam<float> {};

TEST_P(MidStreamTest, Killed) {
  std::vector<Turn> turns = TestTurns(3);
  turns[1].max_tokens = kLongTurn;
  turns[1].temperature = GetParam();
  const std::vector<Reply> expected = UndisturbedReplies(turns);
  ASSERT_OK_AND_ASSIGN(auto cluster, Cluster::Start());
  ExpectSameReply(Say(cluster->gateway(), "s", turns[0]), expected[0]);
  const std::string first = HolderOf(cluster->gateway(), "s");
  {
    RunningTurn turn(cluster->gateway(), "s", turns[1]);
    ASSERT_TRUE(turn.ReadTokens(kStruckAfter));
    cluster->Kill(first);
    const Reply second = turn.Finish();
    ExpectSameReply(second, expected[1]);
    EXPECT_EQ(second.done.continuations(), 1u);
    EXPECT_EQ(WorkerName(second.done.worker()), OtherWorker(first));
  }
  ExpectSameReply(Say(cluster->gateway(), "s", turns[2]), expected[2]);
  ExpectNothingLost(cluster->gateway(), "s", 3);
}

// A worker that hangs without closing its connections is given up too, and what it does when it
// wakes up is refused.
TEST_P(MidStreamTest, StoppedThenContinued) {
  std::vector<Turn> turns = TestTurns(3);
  turns[1].max_tokens = kLongTurn;
  turns[1].temperature = GetParam();
  const std::vector<Reply> expected = UndisturbedReplies(turns);
  ASSERT_OK_AND_ASSIGN(auto cluster, Cluster::Start());
  ExpectSameReply(Say(cluster->gateway(), "s", turns[0]), expected[0]);
  const std::string first = HolderOf(cluster->gateway(), "s");
  {
    RunningTurn turn(cluster->gateway(), "s", turns[1]);
    ASSERT_TRUE(turn.ReadTokens(kStruckAfter));
    cluster->worker_process(first).Signal(SIGSTOP);
    const Reply second = turn.Finish();
    ExpectSameReply(second, expected[1]);
    EXPECT_EQ(second.done.continuations(), 1u);
  }
  cluster->worker_process(first).Signal(SIGCONT);
  // It learns that its lease is gone, and drops the session.
  EXPECT_TRUE(WaitUntil([&] {
    return cluster->Metric(first, "lckv_worker_running_turns") == 0 &&
           cluster->Metric(first, "lckv_worker_sessions") == 0;
  }));
  ExpectNothingLost(cluster->gateway(), "s", 2);
  const Reply third = Say(cluster->gateway(), "s", turns[2]);
  ExpectSameReply(third, expected[2]);
  EXPECT_EQ(WorkerName(third.done.worker()), OtherWorker(first));
  ExpectNothingLost(cluster->gateway(), "s", 3);
}

INSTANTIATE_TEST_SUITE_P(GreedyAndSampled, MidStreamTest, ::testing::Values(0.0f, 0.8f),
                         [](const auto& info) { return info.param == 0 ? "greedy" : "sampled"; });

TEST(DrainTest, RunningTurnsFinishAndSessionsMove) {
  std::vector<Turn> turns = TestTurns(3);
  turns[1].max_tokens = 400;
  const std::vector<Reply> expected = UndisturbedReplies(turns);
  ASSERT_OK_AND_ASSIGN(auto cluster, Cluster::Start());
  const std::vector<std::string> sessions = {"a", "b", "c", "d"};
  for (const std::string& session : sessions) {
    ExpectSameReply(Say(cluster->gateway(), session, turns[0]), expected[0]);
  }
  const std::string leaving = HolderOf(cluster->gateway(), "a");
  {
    std::vector<std::unique_ptr<RunningTurn>> running;
    for (const std::string& session : sessions) {
      running.push_back(std::make_unique<RunningTurn>(cluster->gateway(), session, turns[1]));
      ASSERT_TRUE(running.back()->ReadTokens(1));
    }
    EXPECT_EQ(cluster->Terminate(leaving), 0);
    for (const auto& turn : running) ExpectSameReply(turn->Finish(), expected[1]);
  }
  for (const std::string& session : sessions) {
    const Reply third = Say(cluster->gateway(), session, turns[2]);
    ExpectSameReply(third, expected[2]);
    EXPECT_EQ(WorkerName(third.done.worker()), OtherWorker(leaving));
    EXPECT_EQ(third.done.usage().reencoded_tokens(), 0u) << session;
    ExpectNothingLost(cluster->gateway(), session, 3);
  }
}

// A drain whose turns are longer than its grace period: they move.
TEST(DrainTest, TurnsThatDoNotFinishMove) {
  std::vector<Turn> turns = TestTurns(2);
  turns[0].max_tokens = kLongTurn;
  const std::vector<Reply> expected = UndisturbedReplies(turns);
  ASSERT_OK_AND_ASSIGN(auto cluster, Cluster::Start({.worker_flags = {"--drain-grace", "1s"}}));
  {
    RunningTurn turn(cluster->gateway(), "s", turns[0]);
    ASSERT_TRUE(turn.ReadTokens(kStruckAfter));
    const std::string leaving = HolderOf(cluster->gateway(), "s");
    EXPECT_EQ(cluster->Terminate(leaving), 0);
    const Reply first = turn.Finish();
    ExpectSameReply(first, expected[0]);
  }
  ExpectSameReply(Say(cluster->gateway(), "s", turns[1]), expected[1]);
  ExpectNothingLost(cluster->gateway(), "s", 2);
}

}  // namespace
}  // namespace lckv::testing
