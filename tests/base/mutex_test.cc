#include "base/mutex.h"

#include <gtest/gtest.h>

#include <thread>

namespace lckv {
namespace {

TEST(CondVarTest, AWaitWithoutEndEndsWithANotification) {
  Mutex mu;
  CondVar changed;
  bool done = false;
  std::thread other([&] {
    MutexLock lock(mu);
    done = true;
    changed.NotifyAll();
  });
  {
    MutexLock lock(mu);
    while (!done) EXPECT_FALSE(changed.WaitWithTimeout(mu, absl::InfiniteDuration()));
  }
  other.join();
}

TEST(CondVarTest, AShortWaitTimesOut) {
  Mutex mu;
  CondVar never;
  MutexLock lock(mu);
  while (!never.WaitWithTimeout(mu, absl::Milliseconds(1))) {
  }
  EXPECT_TRUE(never.WaitWithTimeout(mu, -absl::InfiniteDuration()));
}

}  // namespace
}  // namespace lckv
