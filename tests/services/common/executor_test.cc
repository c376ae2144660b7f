#include "services/common/executor.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>

namespace lckv {
namespace {

TEST(ExecutorTest, RunsWhatItTookBeforeItStops) {
  std::atomic<int> ran{0};
  {
    Executor executor(3, 100);
    for (int i = 0; i < 100; ++i) ASSERT_TRUE(executor.TrySubmit([&] { ++ran; }));
  }
  EXPECT_EQ(ran, 100);
}

TEST(ExecutorTest, RefusesWhenFullAndWhenShutDown) {
  std::promise<void> started;
  std::promise<void> release;
  Executor executor(1, 2);
  ASSERT_TRUE(executor.TrySubmit([&] {
    started.set_value();
    release.get_future().wait();
  }));
  started.get_future().wait();
  EXPECT_TRUE(executor.TrySubmit([] {}));
  EXPECT_TRUE(executor.TrySubmit([] {}));
  EXPECT_FALSE(executor.TrySubmit([] {}));
  EXPECT_EQ(executor.waiting(), 2u);
  release.set_value();
  executor.Shutdown();
  EXPECT_FALSE(executor.TrySubmit([] {}));
}

}  // namespace
}  // namespace lckv
