#include "services/gateway/worker_directory.h"

#include <gtest/gtest.h>

#include "absl/time/clock.h"
#include "base/error_info.h"
#include "tests/services/gateway/fake_worker.h"

namespace lckv::gateway {
namespace {

class WorkerDirectoryTest : public ::testing::Test {
 protected:
  WorkerDirectoryOptions Options() {
    WorkerDirectoryOptions options;
    options.addresses = {a_.address(), b_.address()};
    options.report_interval = absl::Milliseconds(20);
    options.reconnect_min = absl::Milliseconds(10);
    options.reconnect_max = absl::Milliseconds(50);
    return options;
  }
  static bool Becomes(WorkerDirectory& directory, const std::string& worker, WorkerState state) {
    return Eventually([&] { return directory.table().StateOf(worker) == state; });
  }

  FakeWorker a_{"a"};
  FakeWorker b_{"b"};
};

TEST_F(WorkerDirectoryTest, LearnsWorkersAndTheirSessions) {
  a_.AddHot("s");
  WorkerDirectory directory(Options());
  ASSERT_TRUE(directory.WaitForReports(absl::Now() + absl::Seconds(60)));
  EXPECT_EQ(directory.table().StateOf("a"), WorkerState::kReady);
  EXPECT_EQ(directory.table().StateOf("b"), WorkerState::kReady);
  EXPECT_EQ(directory.table().HolderOf("default", "s"), "a");
  EXPECT_NE(directory.StubOf("a"), nullptr);
  EXPECT_NE(directory.StubOf("a"), directory.StubOf("b"));
  EXPECT_EQ(directory.StubOf("c"), nullptr);
}

TEST_F(WorkerDirectoryTest, FollowsAWorkersState) {
  WorkerDirectory directory(Options());
  EXPECT_TRUE(Becomes(directory, "a", WorkerState::kReady));
  a_.SetState(v1::LoadReport::DRAINING);
  EXPECT_TRUE(Becomes(directory, "a", WorkerState::kDraining));
}

TEST_F(WorkerDirectoryTest, NoticesDeathAndReturn) {
  a_.AddHot("s");
  WorkerDirectory directory(Options());
  ASSERT_TRUE(Becomes(directory, "a", WorkerState::kReady));
  a_.Kill();
  EXPECT_TRUE(Becomes(directory, "a", WorkerState::kDead));
  EXPECT_EQ(directory.table().HolderOf("default", "s"), "");
  EXPECT_TRUE(Becomes(directory, "b", WorkerState::kReady));
  a_.Restart();
  EXPECT_TRUE(Becomes(directory, "a", WorkerState::kReady));
  EXPECT_EQ(directory.table().HolderOf("default", "s"), "a");
}

TEST_F(WorkerDirectoryTest, SuspectsAWorkerThatFallsSilent) {
  WorkerDirectoryOptions options = Options();
  options.suspect_after = absl::Milliseconds(200);
  WorkerDirectory directory(options);
  ASSERT_TRUE(Becomes(directory, "a", WorkerState::kReady));
  a_.FallSilent();
  EXPECT_TRUE(Becomes(directory, "a", WorkerState::kSuspect));
}

TEST_F(WorkerDirectoryTest, StartsAndStopsWithoutAnyWorker) {
  WorkerDirectoryOptions options = Options();
  a_.Kill();
  b_.Kill();
  WorkerDirectory directory(options);
  EXPECT_FALSE(directory.WaitForReports(absl::Now()));
  EXPECT_EQ(directory.table().CountByState()[static_cast<size_t>(WorkerState::kDead)], 2);
}

}  // namespace
}  // namespace lckv::gateway
