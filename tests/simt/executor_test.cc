#include "tests/simt/executor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "tests/simt/device_emulation.h"

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

TEST_F(ExecutorTest, ImpossibleLaunches) {
  const auto nothing = [] {};
  EXPECT_EQ(RunKernel("kernel", Shape(1, 1025), nothing), kError);
  ClearError();
  EXPECT_EQ(RunKernel("kernel", Shape(0, 32), nothing), kError);
  ClearError();
  EXPECT_EQ(RunKernel("kernel", {{1, 65536, 1}, {1, 1, 1}, 0}, nothing), kError);
}

}  // namespace
}  // namespace lckv::simt
