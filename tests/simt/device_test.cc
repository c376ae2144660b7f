// What kernels may use (engine/ops/cuda/device.cuh, mma.cuh), run by the executor.

#include "engine/ops/cuda/device.cuh"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "tests/simt/executor.h"
#include "tests/simt/test_kernels.h"

namespace lckv::gpu {
namespace {

using ::testing::HasSubstr;

constexpr uint64_t kSeeds = 10;

class DeviceTest : public ::testing::Test {
 protected:
  void SetUp() override { simt::ClearError(); }
  void TearDown() override { simt::ClearError(); }
};

TEST_F(DeviceTest, BlockSumOfAnyCount) {
  for (const int32_t count : {1, 2, 31, 32, 33, 127, 128, 129, 1000}) {
    simt::SetSeed(static_cast<uint64_t>(count));
    std::vector<float> in(static_cast<size_t>(3 * count));
    for (size_t i = 0; i < in.size(); ++i) in[i] = static_cast<float>(i % 17) - 5.0f;
    std::vector<float> out(3);
    ASSERT_EQ(LaunchSum({in.data(), out.data(), count}, 3), 0) << simt::LastError();
    for (int32_t block = 0; block < 3; ++block) {
      float sum = 0;
      for (int32_t i = 0; i < count; ++i) sum += in[static_cast<size_t>(block * count + i)];
      EXPECT_EQ(out[static_cast<size_t>(block)], sum) << count;  // small integers: exact
    }
  }
}

TEST_F(DeviceTest, ShufflesAndVotes) {
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    simt::SetSeed(seed);
    WarpResults results = {};
    ASSERT_EQ(LaunchWarp({&results}), 0) << simt::LastError();
    for (uint32_t lane = 0; lane < 32; ++lane) {
      EXPECT_EQ(results.exchanged[lane], (lane ^ 5u) * 10);
      EXPECT_EQ(results.below[lane], -static_cast<int32_t>(lane < 29 ? lane + 3 : lane));
      EXPECT_EQ(results.reversed[lane], static_cast<float>(31 - lane) + 0.5f);
      EXPECT_EQ(results.half[lane], lane ^ 1u);
      EXPECT_EQ(results.ballot[lane], 0x49249249u);
      EXPECT_EQ(results.half_ballot[lane], lane < 16 ? 0x00005555u : 0xaaaa0000u);
      EXPECT_EQ(results.any[lane], 1);
      EXPECT_EQ(results.none[lane], 0);
      EXPECT_EQ(results.all[lane], 1);
      EXPECT_EQ(results.not_all[lane], 0);
    }
  }
}

TEST_F(DeviceTest, Atomics) {
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    simt::SetSeed(seed);
    AtomicResults results = {};
    results.largest = std::numeric_limits<int32_t>::min();
    ASSERT_EQ(LaunchAtomic({&results}, 5, 70), 0) << simt::LastError();
    EXPECT_EQ(results.count, 350);
    EXPECT_EQ(results.unsigned_count, 350u);
    EXPECT_EQ(results.long_count, uint64_t{350} << 32);
    EXPECT_EQ(results.halves, 175.0f);
    EXPECT_EQ(results.largest, 349 - 1000000);
    EXPECT_EQ(results.unsigned_largest, 349u);
    EXPECT_EQ(results.long_largest, uint64_t{349} << 32);
    EXPECT_EQ(results.swaps, 350u);
    EXPECT_EQ(results.shared_count, 350);
  }
}

TEST_F(DeviceTest, AThreadMayLoseTheTurnAtAnAtomic) {
  // Read, atomic, write: other threads come between.
  int32_t value = 0;
  int32_t atomic = 0;
  ASSERT_EQ(simt::RunKernel("kernel", {{}, {64, 1, 1}, 0},
                            [&] {
                              const int32_t seen = value;
                              device::AtomicAdd(&atomic, 1);
                              value = seen + 1;
                            }),
            simt::kSuccess);
  EXPECT_EQ(atomic, 64);
  EXPECT_LT(value, 64);
}

struct Vectors {
  alignas(16) uint8_t bytes[16 * 300];
};

TEST_F(DeviceTest, AsynchronousCopies) {
  Vectors in;
  for (size_t i = 0; i < sizeof(in.bytes); ++i) in.bytes[i] = static_cast<uint8_t>(i * 7 + i / 256);
  for (const int32_t count : {1, 63, 64, 65, 128, 300}) {
    for (const int32_t valid : {0, count / 2, count}) {
      simt::SetSeed(static_cast<uint64_t>(count + valid));
      Vectors out = {};
      ASSERT_EQ(LaunchPipeline({in.bytes, out.bytes, count, valid, 1}), 0) << simt::LastError();
      for (int32_t i = 0; i < 16 * 300; ++i) {
        ASSERT_EQ(out.bytes[i], i < 16 * valid ? in.bytes[i] : 0) << i;
      }
    }
  }
}

TEST_F(DeviceTest, ACopyThatNobodyWaitedForIsReported) {
  const Vectors in = {};
  Vectors out = {};
  EXPECT_NE(LaunchPipeline({in.bytes, out.bytes, 130, 130, 0}), 0);
  EXPECT_THAT(simt::LastError(), HasSubstr("an asynchronous copy has not been waited for"));
}

TEST_F(DeviceTest, ACopyIsNotThereBeforeTheWait) {
  alignas(16) const uint32_t in[4] = {1, 2, 3, 4};
  const unsigned char* data = nullptr;
  uint32_t before = 0;
  uint32_t after = 0;
  const auto kernel = [&] {
    LCKV_SHARED(uint32_t, values, 4);
    values[0] = 77;
    data = (values + 0).area().data;  // past the checks
    device::CopyAsync16(values + 0, in);
    device::CopyAsyncCommit();
    std::memcpy(&before, data, sizeof(before));
    device::CopyAsyncWait<0>();
    after = values[0];
  };
  ASSERT_EQ(simt::RunKernel("kernel", {}, kernel), simt::kSuccess) << simt::LastError();
  EXPECT_EQ(before, 77u);
  EXPECT_EQ(after, 1u);
  // Without the commit the wait does not cover it.
  const auto uncommitted = [&] {
    LCKV_SHARED(uint32_t, values, 4);
    device::CopyAsync16(values + 0, in);
    device::CopyAsyncWait<0>();
    after = values[0];
  };
  EXPECT_EQ(simt::RunKernel("kernel", {}, uncommitted), simt::kError);
}

TEST_F(DeviceTest, TensorCoreProduct) {
  std::mt19937 random(3);
  for (const int32_t stored_by_column : {0, 1}) {
    alignas(16) uint16_t a[16 * 16];
    alignas(16) uint16_t b[16 * 8];
    float c[16 * 8];
    const auto integer = [&random] { return static_cast<float>(random() % 41) - 20.0f; };
    for (uint16_t& x : a) x = device::F32ToBf16(integer());
    for (uint16_t& x : b) x = device::F32ToBf16(integer());
    for (float& x : c) x = integer();
    float expected[16 * 8];
    for (int row = 0; row < 16; ++row) {
      for (int column = 0; column < 8; ++column) {
        float sum = c[row * 8 + column];  // integers: exact in any order
        for (int k = 0; k < 16; ++k) {
          const int index = stored_by_column != 0 ? column * 16 + k : k * 8 + column;
          sum += device::Bf16ToF32(a[row * 16 + k]) * device::Bf16ToF32(b[index]);
        }
        expected[row * 8 + column] = sum;
      }
    }
    ASSERT_EQ(LaunchProduct({a, b, c, stored_by_column}), 0) << simt::LastError();
    EXPECT_THAT(c, ::testing::ElementsAreArray(expected)) << stored_by_column;
  }
}

TEST_F(DeviceTest, LanesShareMemoryAcrossAWarpBarrier) {
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    simt::SetSeed(seed);
    std::vector<int32_t> out(96);
    ASSERT_EQ(LaunchRotate({out.data(), 1}, 96), 0) << simt::LastError();
    for (int32_t i = 0; i < 96; ++i) {
      EXPECT_EQ(out[static_cast<size_t>(i)], i / 32 * 32 + (i + 3) % 32);
    }
    EXPECT_NE(LaunchRotate({out.data(), 0}, 96), 0);
    EXPECT_THAT(simt::LastError(), HasSubstr("without a barrier"));
    simt::ClearError();
  }
}

TEST_F(DeviceTest, Mathematics) {
  std::vector<float> in;
  for (float x = 1e-30f; x < 1e30f; x *= 1.7f) in.push_back(x);
  in.push_back(2.5f);
  const size_t n = in.size();
  std::vector<float> rsqrt(n), sqrt(n), exp(n), log(n), floor(n), exp2(n);
  std::vector<uint32_t> bf16(n);
  ASSERT_EQ(LaunchMath({in.data(), rsqrt.data(), sqrt.data(), exp.data(), log.data(), floor.data(),
                        exp2.data(), bf16.data(), static_cast<int32_t>(n)}),
            0)
      << simt::LastError();
  for (size_t i = 0; i < n; ++i) {
    const double x = double{in[i]};
    EXPECT_FLOAT_EQ(rsqrt[i], static_cast<float>(1.0 / std::sqrt(x)));
    EXPECT_FLOAT_EQ(sqrt[i], static_cast<float>(std::sqrt(x)));
    EXPECT_FLOAT_EQ(exp[i], static_cast<float>(std::exp(std::min(x, 80.0))));
    EXPECT_FLOAT_EQ(log[i], static_cast<float>(std::log(x)));
    EXPECT_EQ(floor[i], std::floor(in[i]));
    EXPECT_FLOAT_EQ(exp2[i], static_cast<float>(std::exp2(std::min(x, 100.0))));
    EXPECT_EQ(bf16[i], device::F32ToBf16(in[i]) | uint32_t{device::F32ToBf16(-in[i])} << 16);
  }
}

TEST_F(DeviceTest, RsqrtIsCorrectlyRounded) {
  // Both parities of the exponent; other binades only move the result's.
  for (uint32_t bits = device::BitsOf(1.0f); bits < device::BitsOf(4.0f); bits += 3) {
    const float x = device::FloatOf(bits);
    const long double exact = 1.0L / std::sqrt(static_cast<long double>(x));
    ASSERT_EQ(device::Rsqrt(x), static_cast<float>(exact)) << x;
  }
}

// A format of sign, exponent and mantissa bits, the slow way. Magnitudes are codes 0 … largest.
struct SmallFloat {
  std::string name;
  int mantissa_bits;
  int bias;
  uint32_t largest;   // the greatest finite code
  uint32_t sign;      // the sign bit
  bool has_infinity;  // else what is too large becomes the largest
  float (*decode)(uint32_t);
  uint32_t (*encode)(float);
};

double SlowDecode(const SmallFloat& format, uint32_t code) {
  const uint32_t fraction = code & ((1u << format.mantissa_bits) - 1);
  const int exponent = static_cast<int>(code >> format.mantissa_bits);
  const double unit = std::ldexp(1.0, -format.mantissa_bits);
  return exponent == 0 ? std::ldexp(fraction * unit, 1 - format.bias)
                       : std::ldexp(1.0 + fraction * unit, exponent - format.bias);
}

// `values`: SlowDecode of codes 0 … largest + 1, where infinity counts as the next power of two.
uint32_t SlowEncode(const SmallFloat& format, const std::vector<double>& values, float x) {
  const uint32_t sign = std::signbit(x) ? format.sign : 0;
  const double magnitude = std::fabs(double{x});
  const auto above = std::lower_bound(values.begin(), values.end(), magnitude);
  auto code = static_cast<uint32_t>(above - values.begin());
  if (above == values.end()) {
    code = format.largest + 1;
  } else if (*above != magnitude) {
    const double distance_up = *above - magnitude;
    const double distance_down = magnitude - values[code - 1];
    if (distance_down < distance_up || (distance_down == distance_up && code % 2 == 1)) --code;
  }
  if (!format.has_infinity) code = std::min(code, format.largest);
  return sign | code;
}

const SmallFloat kFormats[] = {
    {"bf16", 7, 127, 0x7f7f, 0x8000, true,
     [](uint32_t code) { return device::Bf16ToF32(static_cast<uint16_t>(code)); },
     [](float x) { return uint32_t{device::F32ToBf16(x)}; }},
    {"f16", 10, 15, 0x7bff, 0x8000, true,
     [](uint32_t code) { return device::F16ToF32(static_cast<uint16_t>(code)); },
     [](float x) { return uint32_t{device::F32ToF16(x)}; }},
    {"e4m3", 3, 7, 0x7e, 0x80, false,
     [](uint32_t code) { return device::E4m3ToF32(static_cast<uint8_t>(code)); },
     [](float x) { return uint32_t{device::F32ToE4m3(x)}; }},
};

TEST_F(DeviceTest, SmallFloatsDecodeExactly) {
  for (const SmallFloat& format : kFormats) {
    for (uint32_t code = 0; code <= format.largest; ++code) {
      const double expected = SlowDecode(format, code);
      ASSERT_EQ(double{format.decode(code)}, expected) << format.name << " " << code;
      ASSERT_EQ(double{format.decode(code | format.sign)}, -expected) << format.name;
      ASSERT_TRUE(std::signbit(format.decode(code | format.sign)));
      ASSERT_EQ(format.encode(format.decode(code)), code) << format.name;
    }
    uint32_t code = format.largest + 1;
    if (format.has_infinity) {
      EXPECT_EQ(format.decode(code), std::numeric_limits<float>::infinity());
      EXPECT_EQ(format.decode(code | format.sign), -std::numeric_limits<float>::infinity());
      ++code;
    }
    for (; code < format.sign; ++code) {
      ASSERT_TRUE(std::isnan(format.decode(code))) << format.name << " " << code;
      ASSERT_TRUE(std::isnan(format.decode(code | format.sign)));
      ASSERT_TRUE(std::isnan(format.decode(format.encode(format.decode(code)))));
    }
  }
}

TEST_F(DeviceTest, SmallFloatsEncodeToNearestEven) {
  for (const SmallFloat& format : kFormats) {
    std::vector<double> values;
    for (uint32_t code = 0; code <= format.largest; ++code) {
      values.push_back(SlowDecode(format, code));
    }
    if (format.has_infinity) {
      values.push_back(2 * SlowDecode(format, format.largest + 1 - (1u << format.mantissa_bits)));
    }
    const auto check = [&](float x) {
      ASSERT_EQ(format.encode(x), SlowEncode(format, values, x)) << format.name << " " << x;
      ASSERT_EQ(format.encode(-x), SlowEncode(format, values, -x)) << format.name << " " << -x;
    };
    // Around the middle between any two neighbours, where rounding changes its mind.
    for (size_t code = 0; code + 1 < values.size(); ++code) {
      const auto middle = static_cast<float>((values[code] + values[code + 1]) / 2);
      check(middle);
      check(std::nextafter(middle, 0.0f));
      check(std::nextafter(middle, std::numeric_limits<float>::infinity()));
    }
    // And throughout, up to infinity.
    for (uint64_t bits = 0; bits <= 0x7f800000u; bits += 9973) {
      check(device::FloatOf(static_cast<uint32_t>(bits)));
    }
    check(std::numeric_limits<float>::max());
    check(std::numeric_limits<float>::infinity());
  }
}

}  // namespace
}  // namespace lckv::gpu
