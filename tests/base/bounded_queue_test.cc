#include "base/bounded_queue.h"

#include <gtest/gtest.h>

#include <memory>
#include <thread>
#include <vector>

namespace lckv {
namespace {

TEST(BoundedQueueTest, KeepsOrderAndBound) {
  BoundedQueue<int> queue(3);
  EXPECT_EQ(queue.capacity(), 3u);
  EXPECT_TRUE(queue.TryPush(1));
  EXPECT_TRUE(queue.TryPush(2));
  EXPECT_TRUE(queue.TryPush(3));
  EXPECT_FALSE(queue.TryPush(4));
  EXPECT_EQ(queue.size(), 3u);
  EXPECT_EQ(queue.TryPop(), 1);
  EXPECT_TRUE(queue.TryPush(5));
  EXPECT_EQ(queue.TryPop(), 2);
  EXPECT_EQ(queue.TryPop(), 3);
  EXPECT_EQ(queue.TryPop(), 5);
  EXPECT_EQ(queue.TryPop(), std::nullopt);
}

TEST(BoundedQueueTest, ARefusedItemStaysWithItsOwner) {
  BoundedQueue<std::unique_ptr<int>> queue(1);
  ASSERT_TRUE(queue.TryPush(std::make_unique<int>(1)));
  auto second = std::make_unique<int>(2);
  EXPECT_FALSE(queue.TryPush(std::move(second)));
  ASSERT_NE(second, nullptr);
  queue.TryPop();
  queue.Close();
  EXPECT_FALSE(queue.TryPush(std::move(second)));
  ASSERT_NE(second, nullptr);
  EXPECT_EQ(*second, 2);
}

TEST(BoundedQueueTest, AfterCloseWhatIsLeftComesOut) {
  BoundedQueue<int> queue(2);
  queue.TryPush(1);
  queue.TryPush(2);
  queue.Close();
  EXPECT_EQ(queue.Pop(), 1);
  EXPECT_EQ(queue.PopWithTimeout(absl::InfiniteDuration()), 2);
  EXPECT_EQ(queue.Pop(), std::nullopt);
  EXPECT_EQ(queue.PopWithTimeout(absl::InfiniteDuration()), std::nullopt);
}

TEST(BoundedQueueTest, TimeoutGivesUp) {
  BoundedQueue<int> queue(1);
  EXPECT_EQ(queue.PopWithTimeout(absl::ZeroDuration()), std::nullopt);
  EXPECT_EQ(queue.PopWithTimeout(absl::Milliseconds(1)), std::nullopt);
}

TEST(BoundedQueueTest, CloseWakesEveryWaiter) {
  BoundedQueue<int> queue(1);
  std::vector<std::thread> waiters;
  for (int i = 0; i < 3; ++i) {
    waiters.emplace_back([&] { EXPECT_EQ(queue.Pop(), std::nullopt); });
  }
  queue.Close();
  for (std::thread& waiter : waiters) waiter.join();
}

TEST(BoundedQueueTest, ManyThreadsLoseNothing) {
  constexpr int kProducers = 3, kConsumers = 3, kItems = 2000;
  BoundedQueue<int> queue(5);
  std::vector<std::vector<int>> taken(kConsumers);
  std::vector<std::thread> consumers, producers;
  for (int c = 0; c < kConsumers; ++c) {
    consumers.emplace_back([&queue, &mine = taken[static_cast<size_t>(c)]] {
      while (const auto item = queue.Pop()) mine.push_back(*item);
    });
  }
  for (int p = 0; p < kProducers; ++p) {
    producers.emplace_back([&queue, p] {
      for (int i = 0; i < kItems; ++i) {
        while (!queue.TryPush(p * kItems + i)) std::this_thread::yield();
      }
    });
  }
  for (std::thread& producer : producers) producer.join();
  queue.Close();
  for (std::thread& consumer : consumers) consumer.join();

  std::vector<int> times(kProducers * kItems, 0);
  for (const std::vector<int>& mine : taken) {
    std::vector<int> last(kProducers, -1);  // one producer's items keep their order
    for (int item : mine) {
      ++times[static_cast<size_t>(item)];
      int& before = last[static_cast<size_t>(item / kItems)];
      EXPECT_LT(before, item);
      before = item;
    }
  }
  EXPECT_EQ(times, std::vector<int>(kProducers * kItems, 1));
}

}  // namespace
}  // namespace lckv
