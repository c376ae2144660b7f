#pragma once

// The arithmetic of sampling (sampler.h), for host and device code: what it rounds, it rounds in
// one way everywhere, and sums are of integers, so no order of summation matters.

#include <cstdint>
#include <cstring>

#include "engine/ops/host_device.h"

namespace lckv {

// Weights are integers: kWeightOfFirst for the largest logit, and a sum of this many of them stays
// below 2^63.
inline constexpr uint64_t kWeightOfFirst = uint64_t{1} << 40;
inline constexpr int32_t kMaxSampledVocabulary = 1 << 22;

namespace sampling_internal {

// One IEEE operation each, never contracted: -ffp-contract=off on the host.
LCKV_HOST_DEVICE inline double Add(double a, double b) {
#if defined(__CUDA_ARCH__)
  return __dadd_rn(a, b);
#else
  return a + b;
#endif
}
LCKV_HOST_DEVICE inline double Mul(double a, double b) {
#if defined(__CUDA_ARCH__)
  return __dmul_rn(a, b);
#else
  return a * b;
#endif
}
template <typename To, typename From>
LCKV_HOST_DEVICE inline To BitCast(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  memcpy(&to, &from, sizeof(to));
  return to;
}
// The smallest integer at or above `value`, which is at least 0 and at most 2^53.
LCKV_HOST_DEVICE inline uint64_t Ceil(double value) {
  const auto whole = static_cast<uint64_t>(value);
  return static_cast<double>(whole) < value ? whole + 1 : whole;
}

}  // namespace sampling_internal

// Ascending where logits descend, the same for equal logits; NaN counts as minus infinity.
LCKV_HOST_DEVICE inline uint32_t OrderOf(float logit) {
  const auto bits = sampling_internal::BitCast<uint32_t>(logit + 0.0f);  // one zero
  const uint32_t order = (bits & 0x80000000u) != 0 ? bits : bits ^ 0x7fffffffu;
  return logit != logit ? 0xff800000u : order;
}
// A logit with this order.
LCKV_HOST_DEVICE inline float LogitOf(uint32_t order) {
  return sampling_internal::BitCast<float>((order & 0x80000000u) != 0 ? order
                                                                      : ~order & 0x7fffffffu);
}
LCKV_HOST_DEVICE inline bool IsFinite(float logit) {
  return (sampling_internal::BitCast<uint32_t>(logit) & 0x7f800000u) != 0x7f800000u;
}

// 2^40 exp(x), rounded to an integer, for x <= 0; 0 for NaN. The error is at most 0.501 (one half
// from the last rounding), and none at x = 0.
LCKV_HOST_DEVICE inline uint64_t ScaledExp(double x) {
  using sampling_internal::Add;
  using sampling_internal::BitCast;
  using sampling_internal::Mul;
  // exp(x) = 2^n exp(r), |r| <= ln(2)/2. ln(2) in two parts, of which n times the first is exact.
  constexpr double kLog2E = 0x1.71547652b82fep+0;
  constexpr double kLn2High = 0x1.62e42fefa3p-1;
  constexpr double kLn2Low = 0x1.3de6af278ece6p-42;
  // Added to a number below 2^51, it leaves its nearest integer in the last bits.
  constexpr double kToInteger = 0x1.8p52;
  const double y = x > -30 ? x : -30.0;  // where the result is 0
  const double shifted = Add(Mul(y, kLog2E), kToInteger);
  const double n = Add(shifted, -kToInteger);
  const double r = Add(Add(y, -Mul(n, kLn2High)), -Mul(n, kLn2Low));
  // Taylor's series; the term behind the last one is below 2^-52.
  double sum = 1.0 / 479001600;
  sum = Add(Mul(sum, r), 1.0 / 39916800);
  sum = Add(Mul(sum, r), 1.0 / 3628800);
  sum = Add(Mul(sum, r), 1.0 / 362880);
  sum = Add(Mul(sum, r), 1.0 / 40320);
  sum = Add(Mul(sum, r), 1.0 / 5040);
  sum = Add(Mul(sum, r), 1.0 / 720);
  sum = Add(Mul(sum, r), 1.0 / 120);
  sum = Add(Mul(sum, r), 1.0 / 24);
  sum = Add(Mul(sum, r), 1.0 / 6);
  sum = Add(Mul(sum, r), 0.5);
  sum = Add(Mul(sum, r), 1.0);
  sum = Add(Mul(sum, r), 1.0);
  // 2^(n + 40) by its exponent, then to an integer as above.
  const auto power = BitCast<double>((BitCast<uint64_t>(shifted) + 1023 + 40) << 52);
  const double rounded = Add(Mul(sum, power), 0x1p52);
  return BitCast<uint64_t>(rounded) & ((uint64_t{1} << 52) - 1);
}

// How logits become weights.
struct WeightScale {
  double largest;  // the largest logit; finite
  double inverse_temperature;
};
LCKV_HOST_DEVICE inline WeightScale MakeWeightScale(float largest, float temperature) {
  return {static_cast<double>(largest), 1.0 / static_cast<double>(temperature)};
}
// 2^40 exp((logit - largest) / temperature); NaN counts as minus infinity.
LCKV_HOST_DEVICE inline uint64_t WeightOf(float logit, const WeightScale& scale) {
  using namespace sampling_internal;  // NOLINT: three of its functions
  const double below = Add(static_cast<double>(logit), -scale.largest);
  return ScaledExp(Mul(below, scale.inverse_temperature));
}

// floor(a * b / 2^53) for a <= 2^53, b < 2^63; `rest`: whether the division leaves one.
LCKV_HOST_DEVICE inline uint64_t MulShift53(uint64_t a, uint64_t b, bool* rest) {
  constexpr uint64_t kLow = 0xffffffffu;
  const uint64_t low = (a & kLow) * (b & kLow);
  const uint64_t left = (a >> 32) * (b & kLow) + (low >> 32);
  const uint64_t right = (a & kLow) * (b >> 32) + (left & kLow);
  const uint64_t high_word = (a >> 32) * (b >> 32) + (left >> 32) + (right >> 32);
  const uint64_t low_word = right << 32 | (low & kLow);
  *rest = low_word << 11 != 0;
  return high_word << 11 | low_word >> 53;
}

// ceil(top_p * total), in [1, total]; top_p outside (0, 1) as the nearer end, NaN as 1. Exact but
// for a top_p below 2^-29, which keeps the first token only in either case.
LCKV_HOST_DEVICE inline uint64_t TopPWeight(float top_p, uint64_t total) {
  if (!(top_p < 1)) return total;
  if (!(top_p > 0)) return 1;
  bool rest = false;
  const uint64_t share = sampling_internal::Ceil(static_cast<double>(top_p) * 0x1p53);
  const uint64_t wanted = MulShift53(share, total, &rest);
  return rest ? wanted + 1 : wanted;
}

// ceil(min_p * 2^40): no weight below it is kept; min_p outside [0, 1] as the nearer end, NaN as 0.
LCKV_HOST_DEVICE inline uint64_t MinPWeight(float min_p) {
  if (!(min_p > 0)) return 0;
  if (min_p >= 1) return kWeightOfFirst;
  return sampling_internal::Ceil(static_cast<double>(min_p) * static_cast<double>(kWeightOfFirst));
}

// Which unit of weight, of `sum`, the token at `position` falls on.
LCKV_HOST_DEVICE inline uint64_t TargetOf(uint64_t uniform_bits, uint64_t sum) {
  bool rest = false;
  return MulShift53(uniform_bits, sum, &rest);
}

}  // namespace lckv
