#include "tests/simt/executor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "engine/ops/cuda/device.cuh"

namespace lckv::simt {
namespace {

using ::testing::HasSubstr;

class ExecutorTest : public ::testing::Test {
 protected:
  void SetUp() override { ClearError(); }
  void TearDown() override { ClearError(); }
  static LaunchShape Shape(unsigned blocks, unsigned threads, size_t shared_bytes = 0) {
    return {{blocks, 1, 1}, {threads, 1, 1}, shared_bytes};
  }
};

TEST_F(ExecutorTest, EveryThreadOfEveryBlockRunsOnce) {
  std::vector<int> runs(3 * 2 * 4 * 5, 0);
  const LaunchShape shape = {{3, 2, 1}, {4, 5, 1}, 0};
  EXPECT_EQ(RunKernel("kernel", shape,
                      [&] {
                        const unsigned block = blockIdx.y * gridDim.x + blockIdx.x;
                        const unsigned thread = threadIdx.y * blockDim.x + threadIdx.x;
                        ++runs[block * 20 + thread];
                      }),
            kSuccess);
  for (const int count : runs) EXPECT_EQ(count, 1);
}

TEST_F(ExecutorTest, SharedMemoryAndBarriers) {
  for (uint64_t seed = 1; seed < 20; ++seed) {
    SetSeed(seed);
    std::vector<int32_t> out(2 * 64, -1);
    const auto reverse = [&] {
      LCKV_SHARED(int32_t, values, 64);
      values[threadIdx.x] = static_cast<int32_t>(threadIdx.x + 100 * blockIdx.x);
      __syncthreads();
      out[blockIdx.x * 64 + threadIdx.x] = values[63 - threadIdx.x];
    };
    ASSERT_EQ(RunKernel("reverse", Shape(2, 64), reverse), kSuccess) << LastError();
    for (int i = 0; i < 128; ++i)
      EXPECT_EQ(out[static_cast<size_t>(i)], 63 - i % 64 + i / 64 * 100);
  }
}

TEST_F(ExecutorTest, AMissingBarrierBeforeAReadIsReported) {
  const auto kernel = [] {
    LCKV_SHARED(int32_t, values, 64);
    values[threadIdx.x] = 1;
    const int32_t other = values[63 - threadIdx.x];
    (void)other;
  };
  EXPECT_EQ(RunKernel("racing", Shape(1, 64), kernel), kError);
  EXPECT_THAT(LastError(), HasSubstr("racing: block (0,0,0) thread"));
  EXPECT_THAT(LastError(), HasSubstr("without a barrier"));
}

TEST_F(ExecutorTest, AMissingBarrierBeforeAWriteIsReported) {
  const auto kernel = [] {
    LCKV_SHARED(int32_t, values, 2);
    if (threadIdx.x == 0) values[0] = 1;
    __syncthreads();
    const int32_t seen = values[0];
    if (threadIdx.x == 5) values[0] = seen + 1;
  };
  EXPECT_EQ(RunKernel("kernel", Shape(1, 32), kernel), kError);
  EXPECT_THAT(LastError(), HasSubstr("without a barrier"));
}

TEST_F(ExecutorTest, SharedMemoryEndsWhereItEnds) {
  const auto kernel = [] {
    LCKV_DYNAMIC_SHARED(float, values);
    if (threadIdx.x == 3) values[16] = 1.0f;
  };
  EXPECT_EQ(RunKernel("kernel", Shape(1, 32, 64), kernel), kError);
  EXPECT_THAT(LastError(), HasSubstr("thread (3,0,0) touches shared byte 64 of 64"));
  EXPECT_EQ(RunKernel("kernel", Shape(1, 32, 68), kernel), kError) << "the first error stays";
  ClearError();
  EXPECT_EQ(RunKernel("kernel", Shape(1, 32, 68), kernel), kSuccess);
}

TEST_F(ExecutorTest, SharedMemoryStartsAsNaN) {
  float seen = 0;
  EXPECT_EQ(RunKernel("kernel", Shape(1, 1),
                      [&] {
                        LCKV_SHARED(float, values, 1);
                        seen = values[0];
                      }),
            kSuccess);
  EXPECT_TRUE(std::isnan(seen));
}

TEST_F(ExecutorTest, ShufflesWithinEachWarp) {
  for (uint64_t seed = 1; seed < 10; ++seed) {
    SetSeed(seed);
    std::vector<uint32_t> out(96);
    const auto kernel = [&] {
      const uint32_t once = ShuffleXorBits(threadIdx.x, 1);
      out[threadIdx.x] = ShuffleXorBits(once, 16);
    };
    ASSERT_EQ(RunKernel("kernel", Shape(1, 96), kernel), kSuccess) << LastError();
    for (uint32_t i = 0; i < 96; ++i) EXPECT_EQ(out[i], i ^ 17u);
  }
}

TEST_F(ExecutorTest, ABarrierThatSomeNeverReachIsReported) {
  EXPECT_EQ(RunKernel("kernel", Shape(1, 64),
                      [] {
                        if (threadIdx.x < 40) __syncthreads();
                      }),
            kError);
  EXPECT_THAT(LastError(), HasSubstr("40 at a barrier"));
  EXPECT_THAT(LastError(), HasSubstr("24 ended"));
}

TEST_F(ExecutorTest, AWarpOperationThatSomeLaneLeavesOutIsReported) {
  EXPECT_EQ(RunKernel("kernel", Shape(1, 32),
                      [] {
                        if (threadIdx.x != 7) ShuffleXorBits(1, 1);
                      }),
            kError);
  EXPECT_THAT(LastError(), HasSubstr("31 in a warp operation"));
  ClearError();
  EXPECT_EQ(RunKernel("kernel", Shape(1, 32), [] { ShuffleXorBits(1, threadIdx.x < 16 ? 1 : 2); }),
            kError);
  ClearError();
  // Half a warp is no warp.
  EXPECT_EQ(RunKernel("kernel", Shape(1, 16), [] { ShuffleXorBits(1, 1); }), kError);
}

TEST_F(ExecutorTest, LanesThatCallForOthersAreReported) {
  EXPECT_EQ(RunKernel("kernel", Shape(1, 32),
                      [] { gpu::device::Ballot(true, threadIdx.x < 16 ? 0xffffu : 0xffu); }),
            kError);
  EXPECT_THAT(LastError(), HasSubstr("for other lanes than its own"));
  ClearError();
  EXPECT_EQ(RunKernel("kernel", Shape(1, 32),
                      [] {
                        const uint32_t half = threadIdx.x < 16 ? 0xffffu : 0xffff0000u;
                        gpu::device::ShuffleXor(1, 16, half);
                      }),
            kError);
  EXPECT_THAT(LastError(), HasSubstr("not one of those that call"));
  ClearError();
  EXPECT_EQ(RunKernel("kernel", Shape(1, 48), [] { __syncwarp(); }), kError);
  EXPECT_THAT(LastError(), HasSubstr("lanes that the block does not have"));
}

TEST_F(ExecutorTest, LanesInDifferentOperationsAreReported) {
  EXPECT_EQ(RunKernel("kernel", Shape(1, 32),
                      [] {
                        if (threadIdx.x == 9) {
                          gpu::device::Any(true);
                        } else {
                          gpu::device::Shuffle(1, 0);
                        }
                      }),
            kError);
  EXPECT_THAT(LastError(),
              HasSubstr("1 in a warp operation, a vote (block (0,0,0) thread (9,0,0)"));
  EXPECT_THAT(LastError(), HasSubstr("31 in a warp operation, Shuffle"));
}

TEST_F(ExecutorTest, DifferentBarriersAreReported) {
  EXPECT_EQ(RunKernel("kernel", Shape(1, 64),
                      [] {
                        if (threadIdx.x < 32) {
                          __syncthreads();
                        } else {
                          __syncthreads();
                        }
                      }),
            kError);
  EXPECT_THAT(LastError(), HasSubstr("threads are at different barriers"));
}

// Through global memory, which has no record of accesses: the order of threads must show it.
TEST_F(ExecutorTest, TheOrderOfThreadsShowsAMissingBarrier) {
  const auto wrong_values = [](bool synchronise) {
    int wrong = 0;
    for (uint64_t seed = 1; seed < 20; ++seed) {
      SetSeed(seed);
      std::vector<int32_t> values(64, 0);
      const auto kernel = [&] {
        values[threadIdx.x] = 1;
        if (synchronise) __syncthreads();
        if (values[63 - threadIdx.x] != 1) ++wrong;
      };
      EXPECT_EQ(RunKernel("kernel", Shape(1, 64), kernel), kSuccess) << LastError();
    }
    return wrong;
  };
  EXPECT_EQ(wrong_values(true), 0);
  EXPECT_GT(wrong_values(false), 19);
}

TEST_F(ExecutorTest, TheSeedDecidesTheOrder) {
  const auto order = [](uint64_t seed) {
    SetSeed(seed);
    std::vector<unsigned> threads;
    EXPECT_EQ(RunKernel("kernel", Shape(2, 64),
                        [&] {
                          threads.push_back(threadIdx.x);
                          __syncthreads();
                          threads.push_back(threadIdx.x);
                        }),
              kSuccess);
    return threads;
  };
  EXPECT_EQ(order(5), order(5));
  EXPECT_NE(order(5), order(6));
  const std::vector<unsigned> threads = order(5);
  EXPECT_NE(std::vector<unsigned>(threads.begin(), threads.begin() + 64),
            std::vector<unsigned>(threads.begin() + 64, threads.begin() + 128))
      << "a barrier changes the order";
}

TEST_F(ExecutorTest, AWarpBarrierOrdersItsOwnWarpOnly) {
  const auto kernel = [](unsigned distance) {
    LCKV_SHARED(int32_t, values, 64);
    values[threadIdx.x] = 1;
    __syncwarp();
    const int32_t other = values[threadIdx.x ^ distance];
    __syncwarp();
    values[threadIdx.x] = other + 1;
  };
  EXPECT_EQ(RunKernel("kernel", Shape(1, 64), [&] { kernel(31); }), kSuccess) << LastError();
  EXPECT_EQ(RunKernel("kernel", Shape(1, 64), [&] { kernel(32); }), kError);
  EXPECT_THAT(LastError(), HasSubstr("without a barrier"));
}

TEST_F(ExecutorTest, ReadsOfAWholeWarpAreOrderedBeforeALaterWrite) {
  const auto kernel = [](bool synchronise) {
    LCKV_SHARED(int32_t, value, 1);
    if (threadIdx.x == 0) value[0] = 1;
    __syncwarp();
    const int32_t seen = value[0];
    if (synchronise) __syncwarp();
    if (threadIdx.x == 7) value[0] = seen + 1;
  };
  EXPECT_EQ(RunKernel("kernel", Shape(1, 32), [&] { kernel(true); }), kSuccess) << LastError();
  EXPECT_EQ(RunKernel("kernel", Shape(1, 32), [&] { kernel(false); }), kError);
}

TEST_F(ExecutorTest, PlainAccessBesideAnAtomicOneIsReported) {
  const auto kernel = [](bool plain) {
    LCKV_SHARED(int32_t, value, 1);
    if (threadIdx.x == 0) value[0] = 0;
    __syncthreads();
    if (plain && threadIdx.x == 3) value[0] = 5;
    gpu::device::AtomicAdd(value + 0, 1);
    __syncthreads();
    EXPECT_EQ(int32_t{value[0]}, 32);
  };
  EXPECT_EQ(RunKernel("kernel", Shape(1, 32), [&] { kernel(false); }), kSuccess) << LastError();
  EXPECT_EQ(RunKernel("kernel", Shape(1, 32), [&] { kernel(true); }), kError);
  EXPECT_THAT(LastError(), HasSubstr("without a barrier"));
}

// A shuffle brings the lanes together in time but orders no memory, so each rule is seen at work
// whatever the order of threads.
TEST_F(ExecutorTest, AWriteAfterOthersHaveReadIsReported) {
  const auto kernel = [] {
    LCKV_SHARED(int32_t, value, 1);
    const int32_t seen = value[0];
    gpu::device::ShuffleXor(seen, 1);
    if (threadIdx.x == 7) value[0] = 1;
  };
  EXPECT_EQ(RunKernel("kernel", Shape(1, 32), kernel), kError);
  EXPECT_THAT(LastError(), HasSubstr("thread (7,0,0) writes shared byte 0"));
}

TEST_F(ExecutorTest, APlainReadAfterAtomicsOfOthersIsReported) {
  const auto kernel = [] {
    LCKV_SHARED(int32_t, value, 1);
    gpu::device::AtomicAdd(value + 0, 1);
    gpu::device::All(true);
    if (threadIdx.x == 7) gpu::device::AtomicAdd(value + 0, value[0]);
  };
  EXPECT_EQ(RunKernel("kernel", Shape(1, 32), kernel), kError);
  EXPECT_THAT(LastError(), HasSubstr("thread (7,0,0) reads shared byte 0"));
}

TEST_F(ExecutorTest, ABarrierOfPartOfAWarpOrdersNothing) {
  const auto kernel = [] {
    LCKV_SHARED(int32_t, values, 32);
    values[threadIdx.x] = 1;
    SyncWarp(threadIdx.x < 16 ? 0x0000ffffu : 0xffff0000u);
    const int32_t other = values[threadIdx.x ^ 1u];
    (void)other;
  };
  EXPECT_EQ(RunKernel("kernel", Shape(1, 32), kernel), kError);
  EXPECT_THAT(LastError(), HasSubstr("without a barrier"));
}

TEST_F(ExecutorTest, LanesThatNameDifferentLanesAreReported) {
  for (uint64_t seed = 1; seed < 10; ++seed) {
    SetSeed(seed);
    const auto kernel = [] {
      if (threadIdx.x < 3) gpu::device::Any(true, threadIdx.x == 0 ? 0xfu : 0x7u);
    };
    EXPECT_EQ(RunKernel("kernel", Shape(1, 4), kernel), kError);
    EXPECT_THAT(LastError(), HasSubstr("3 in a warp operation"));
    ClearError();
  }
}

TEST_F(ExecutorTest, NarrowElementsAreApart) {
  const auto kernel = [] {
    LCKV_SHARED(uint8_t, bytes, 32);
    bytes[threadIdx.x] = static_cast<uint8_t>(threadIdx.x);
    EXPECT_EQ(uint8_t{bytes[threadIdx.x]}, threadIdx.x);
  };
  EXPECT_EQ(RunKernel("kernel", Shape(1, 32), kernel), kSuccess) << LastError();
  const auto narrowed = [] {
    LCKV_DYNAMIC_SHARED(float, words);
    LCKV_DYNAMIC_SHARED(uint16_t, halves);
  };
  EXPECT_EQ(RunKernel("kernel", Shape(1, 1, 64), narrowed), kError);
  EXPECT_THAT(LastError(), HasSubstr("smaller units"));
}

TEST_F(ExecutorTest, MisalignedVectorsAreReported) {
  EXPECT_EQ(RunKernel("kernel", Shape(1, 1, 64),
                      [] {
                        LCKV_DYNAMIC_SHARED(float, words);
                        gpu::device::Load16(words + 1);
                      }),
            kError);
  EXPECT_THAT(LastError(), HasSubstr("misaligned address of shared memory"));
  ClearError();
  alignas(16) unsigned char bytes[32] = {};
  EXPECT_EQ(RunKernel("kernel", Shape(1, 1), [&] { gpu::device::Store16(bytes + 8, {}); }), kError);
  EXPECT_THAT(LastError(), HasSubstr("misaligned address of global memory"));
}

TEST_F(ExecutorTest, WhatHangsAfterAnErrorIsUnwound) {
  int alive = 0;
  struct Counted {
    int* count;
    explicit Counted(int* c) : count(c) { ++*count; }
    ~Counted() { --*count; }
  };
  EXPECT_EQ(RunKernel("kernel", Shape(3, 64),
                      [&] {
                        const Counted counted(&alive);
                        if (threadIdx.x == 9) Fail("does not like this");
                        __syncthreads();
                      }),
            kError);
  EXPECT_THAT(LastError(), HasSubstr("thread (9,0,0) does not like this"));
  EXPECT_EQ(alive, 0);
  ClearError();
  EXPECT_EQ(RunKernel("kernel", Shape(3, 64), [] { __syncthreads(); }), kSuccess);
}

#if defined(__SANITIZE_ADDRESS__)
TEST_F(ExecutorTest, GlobalMemoryIsWatchedByASan) {
  const auto overrun = [] {
    std::vector<float> values(32);
    float* const data = values.data();
    RunKernel("kernel", Shape(1, 33), [data] { data[threadIdx.x] = 1.0f; });
  };
  EXPECT_DEATH(overrun(), "heap-buffer-overflow");
}
#endif

TEST_F(ExecutorTest, ImpossibleLaunches) {
  const auto nothing = [] {};
  EXPECT_EQ(RunKernel("kernel", Shape(1, 1025), nothing), kError);
  ClearError();
  EXPECT_EQ(RunKernel("kernel", Shape(0, 32), nothing), kError);
  ClearError();
  EXPECT_EQ(RunKernel("kernel", {{1, 65536, 1}, {1, 1, 1}, 0}, nothing), kError);
  ClearError();
  EXPECT_EQ(RunKernel("kernel", Shape(1, 32, kMaxDynamicSharedBytes + 1), nothing), kError);
}

}  // namespace
}  // namespace lckv::simt
