#include "engine/ops/cpu/thread_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "tests/testing/status_matchers.h"

namespace lckv::cpu {
namespace {

using ::lckv::testing::StatusIs;

std::unique_ptr<ThreadPool> Make(int num_threads) {
  auto pool = ThreadPool::Create(num_threads);
  EXPECT_OK(pool);
  return *std::move(pool);
}

// One thread, as many as there are cores (they spin), and more (they sleep at once).
std::vector<int> ThreadCounts() {
  const int cores = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  return {1, 2, cores, cores + 3};
}

TEST(ThreadPoolTest, RejectsBadThreadCounts) {
  for (int count : {-1, 0, ThreadPool::kMaxThreads + 1}) {
    EXPECT_THAT(ThreadPool::Create(count), StatusIs(absl::StatusCode::kInvalidArgument)) << count;
  }
}

TEST(ThreadPoolTest, RunsEveryChunkOnce) {
  for (int threads : ThreadCounts()) {
    const auto pool = Make(threads);
    EXPECT_EQ(pool->num_threads(), threads);
    for (int chunks : {0, 1, 2, 3, 7, 64, 1000}) {
      std::vector<int> runs(static_cast<size_t>(chunks), 0);
      pool->Run(chunks, [&](int chunk, int /*thread*/) { ++runs[static_cast<size_t>(chunk)]; });
      EXPECT_EQ(std::count(runs.begin(), runs.end(), 1), chunks) << threads << " threads";
    }
  }
}

// Scratch per thread index is the pool's contract: plain writes to it, region after region, must
// not race (TSan looks).
TEST(ThreadPoolTest, CallsOfOneThreadNeverOverlap) {
  for (int threads : ThreadCounts()) {
    const auto pool = Make(threads);
    std::vector<int64_t> scratch(static_cast<size_t>(threads), 0);
    std::vector<std::atomic<bool>> busy(static_cast<size_t>(threads));
    constexpr int kRegions = 2000;
    constexpr int kChunks = 5;
    for (int region = 0; region < kRegions; ++region) {
      pool->Run(kChunks, [&](int /*chunk*/, int thread) {
        ASSERT_GE(thread, 0);
        ASSERT_LT(thread, threads);
        const auto index = static_cast<size_t>(thread);
        EXPECT_FALSE(busy[index].exchange(true));
        ++scratch[index];
        busy[index].store(false);
      });
    }
    int64_t total = 0;
    for (int64_t count : scratch) total += count;
    EXPECT_EQ(total, int64_t{kRegions} * kChunks) << threads << " threads";
  }
}

// What a region wrote is there when Run returns, and the next region sees it.
TEST(ThreadPoolTest, RegionsAreOrdered) {
  const auto pool = Make(4);
  std::vector<int64_t> values(97, 0);
  for (int region = 1; region <= 500; ++region) {
    pool->Run(static_cast<int>(values.size()), [&](int chunk, int /*thread*/) {
      int64_t& value = values[static_cast<size_t>(chunk)];
      EXPECT_EQ(value, region - 1);
      value = region;
    });
  }
}

TEST(ThreadPoolTest, ParallelForCoversItemsWithoutGaps) {
  for (int threads : ThreadCounts()) {
    const auto pool = Make(threads);
    for (int64_t items : {0, 1, 2, 3, 17, 100, 12345}) {
      for (int64_t work : {int64_t{1}, int64_t{1000}, int64_t{1} << 30}) {
        std::vector<int> runs(static_cast<size_t>(items), 0);
        pool->ParallelFor(items, work, [&](int64_t begin, int64_t end, int /*thread*/) {
          EXPECT_LT(begin, end);
          for (int64_t i = begin; i < end; ++i) ++runs[static_cast<size_t>(i)];
        });
        EXPECT_EQ(std::count(runs.begin(), runs.end(), 1), items);
      }
    }
  }
}

TEST(ThreadPoolTest, SmallJobsStayOnTheCaller) {
  const auto pool = Make(3);
  const std::thread::id caller = std::this_thread::get_id();
  int calls = 0;
  pool->ParallelFor(10, 100, [&](int64_t begin, int64_t end, int thread) {
    EXPECT_EQ(std::this_thread::get_id(), caller);
    EXPECT_EQ(thread, 0);
    EXPECT_EQ(end - begin, 10);
    ++calls;
  });
  EXPECT_EQ(calls, 1);
}

// A thread that holds a chunk for long keeps the others from nothing: they finish the rest.
TEST(ThreadPoolTest, SlowThreadDelaysOnlyItsChunk) {
  const auto pool = Make(2);
  constexpr int kChunks = 50;
  std::atomic<int> done{0};
  std::atomic<int> holder{-1};
  pool->Run(kChunks, [&](int /*chunk*/, int thread) {
    int nobody = -1;
    if (thread == 1 && holder.compare_exchange_strong(nobody, thread)) {
      // Holds its first chunk until the caller alone has done all others.
      while (done.load() < kChunks - 1) std::this_thread::yield();
    }
    ++done;
  });
  EXPECT_EQ(done.load(), kChunks);
}

}  // namespace
}  // namespace lckv::cpu
