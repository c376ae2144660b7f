#include "engine/sampling/sampling_math.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace lckv {
namespace {

__extension__ using Uint128 = unsigned __int128;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr double kInfinity64 = std::numeric_limits<double>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// By how much ScaledExp(x) misses.
double ErrorAt(double x) {
  const long double exact = std::exp(static_cast<long double>(x)) * 0x1p40L;
  return static_cast<double>(std::abs(exact - static_cast<long double>(ScaledExp(x))));
}

TEST(SamplingMathTest, ScaledExpIsWithinItsBound) {
  std::mt19937_64 random(5);
  double worst = 0;
  for (int i = 0; i < 3'000'000; ++i) {
    worst = std::max(worst, ErrorAt(-31.0 * i / 3'000'000));
    worst = std::max(worst, ErrorAt(-std::ldexp(static_cast<double>(random()), -64) * 3));
  }
  for (int half = 0; half < 90; ++half) {  // where n changes
    double x = -half * 0.34657359027997264;
    for (int i = 0; i < 50; ++i) x = std::nextafter(x, 0);
    for (int i = 0; i < 100; ++i, x = std::nextafter(x, -kInfinity64)) {
      worst = std::max(worst, ErrorAt(x));
    }
  }
  EXPECT_LE(worst, 0.501);
  EXPECT_GT(worst, 0.499);  // the last rounding is to be seen
}

// A contract: sessions continue on other machines and other releases.
TEST(SamplingMathTest, ScaledExpKnownAnswers) {
  EXPECT_EQ(ScaledExp(0), uint64_t{1} << 40);
  EXPECT_EQ(ScaledExp(-0.0), uint64_t{1} << 40);
  EXPECT_EQ(ScaledExp(-1e-300), uint64_t{1} << 40);
  EXPECT_EQ(ScaledExp(-0.5), 666887512957u);
  EXPECT_EQ(ScaledExp(-1), 404487723188u);
  EXPECT_EQ(ScaledExp(-3.25), 42632692369u);
  EXPECT_EQ(ScaledExp(-10), 49917751u);
  EXPECT_EQ(ScaledExp(-20.75), 1071u);
  EXPECT_EQ(ScaledExp(-28), 1u);
  EXPECT_EQ(ScaledExp(-28.4375), 0u);
}

TEST(SamplingMathTest, ScaledExpEndsInZero) {
  for (const double x : {-28.5, -29.0, -30.0, -700.0, -1e18, -1e300, -kInfinity64,
                         std::numeric_limits<double>::quiet_NaN()}) {
    EXPECT_EQ(ScaledExp(x), 0u) << x;
  }
}

TEST(SamplingMathTest, ScaledExpNeverFalls) {
  std::mt19937_64 random(6);
  std::vector<double> xs;
  for (int i = 0; i < 500'000; ++i) {
    xs.push_back(-std::ldexp(static_cast<double>(random()), -64) * (i % 2 == 0 ? 30 : 1e-6));
    xs.push_back(std::nextafter(xs.back(), 0));
  }
  std::sort(xs.begin(), xs.end());
  for (size_t i = 1; i < xs.size(); ++i) ASSERT_LE(ScaledExp(xs[i - 1]), ScaledExp(xs[i])) << xs[i];
}

TEST(SamplingMathTest, WeightsOfSpecialLogits) {
  const WeightScale scale = MakeWeightScale(2.5f, 0.5f);
  EXPECT_EQ(WeightOf(2.5f, scale), kWeightOfFirst);
  EXPECT_EQ(WeightOf(2.0f, scale), ScaledExp(-1));
  for (const float logit : {kNan, -kInfinity, -3e38f}) EXPECT_EQ(WeightOf(logit, scale), 0u);
  // A temperature so small that its inverse is no float, one so large that nothing differs.
  EXPECT_EQ(WeightOf(1.0f, MakeWeightScale(1.0f, 1e-45f)), kWeightOfFirst);
  EXPECT_EQ(WeightOf(0.9999999f, MakeWeightScale(1.0f, 1e-45f)), 0u);
  EXPECT_EQ(WeightOf(-3e38f, MakeWeightScale(3e38f, kInfinity)), kWeightOfFirst);
  EXPECT_EQ(WeightOf(-kInfinity, MakeWeightScale(1.0f, kInfinity)), 0u);
}

TEST(SamplingMathTest, OrderFollowsLogitsDownwards) {
  std::vector<float> logits = {kInfinity, 3e38f,   1.0f,   1e-45f, 0.0f,      -1e-45f,
                               -1.0f,     -1.001f, -1e30f, -3e38f, -kInfinity};
  for (size_t i = 0; i < logits.size(); ++i) {
    EXPECT_EQ(LogitOf(OrderOf(logits[i])), logits[i]);
    for (size_t j = 0; j < i; ++j) EXPECT_LT(OrderOf(logits[j]), OrderOf(logits[i]));
  }
  EXPECT_EQ(OrderOf(-0.0f), OrderOf(0.0f));
  EXPECT_EQ(OrderOf(kNan), OrderOf(-kInfinity));
  EXPECT_EQ(OrderOf(-kNan), OrderOf(-kInfinity));
  for (const float logit : logits) EXPECT_EQ(IsFinite(logit), std::isfinite(logit)) << logit;
  EXPECT_FALSE(IsFinite(kNan));
}

TEST(SamplingMathTest, ProductsAndSharesAreExact) {
  std::mt19937_64 random(7);
  for (int i = 0; i < 100'000; ++i) {
    const uint64_t a = random() >> (11 + random() % 53);
    const uint64_t b = random() >> (1 + random() % 63);
    const Uint128 product = Uint128{a} * b;
    bool rest = false;
    ASSERT_EQ(MulShift53(a, b, &rest), static_cast<uint64_t>(product >> 53)) << a << " " << b;
    ASSERT_EQ(rest, static_cast<uint64_t>(product) << 11 != 0) << a << " " << b;
    ASSERT_EQ(TargetOf(a, b), static_cast<uint64_t>(product >> 53));
    // A share of m / 2^shift.
    const uint64_t m = (random() >> 40) | 1;
    const int shift = 24 + static_cast<int>(random() % 6);
    const auto share = std::ldexp(static_cast<float>(m), -shift);
    const uint64_t total = kWeightOfFirst + (random() >> 2) % (kWeightOfFirst << 20);
    const Uint128 unit = Uint128{1} << shift;
    ASSERT_EQ(TopPWeight(share, total),
              static_cast<uint64_t>((Uint128{m} * total + unit - 1) / unit))
        << m << " " << shift << " " << total;
    ASSERT_EQ(MinPWeight(share),
              static_cast<uint64_t>((Uint128{m} * kWeightOfFirst + unit - 1) / unit));
  }
}

TEST(SamplingMathTest, SharesBeyondTheirEnds) {
  const uint64_t total = 5 * kWeightOfFirst + 3;
  for (const float top_p : {1.0f, 1.5f, kInfinity, kNan})
    EXPECT_EQ(TopPWeight(top_p, total), total);
  for (const float top_p : {0.0f, -0.5f, -kInfinity}) EXPECT_EQ(TopPWeight(top_p, total), 1u);
  EXPECT_LE(TopPWeight(1e-45f, total), kWeightOfFirst);
  for (const float min_p : {0.0f, -1.0f, kNan}) EXPECT_EQ(MinPWeight(min_p), 0u);
  EXPECT_EQ(MinPWeight(1e-45f), 1u);
  for (const float min_p : {1.0f, 7.0f, kInfinity}) EXPECT_EQ(MinPWeight(min_p), kWeightOfFirst);
}

}  // namespace
}  // namespace lckv
