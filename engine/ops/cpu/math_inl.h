#pragma once

#include <cstdint>
#include <cstring>

#include "engine/ops/cpu/kernels.h"

namespace lckv::cpu {

// e^x within 2 ulp; 0 below -87.33 and infinity above 88.37 (where the power of two would leave the
// normal numbers). x = n ln2 + r with |r| <= ln2 / 2, ln2 split in two so that n ln2 is nearly
// exact; e^r by its Taylor series, whose rest after r^7 / 7! is below 6e-9.
template <class V>
V Exp(V x) {
  constexpr float kLowest = -87.33f;
  constexpr float kHighest = 88.37f;
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const V clamped =
      V::SelectLess(V::Set(kHighest), x, V::Set(kHighest), V::Max(V::Set(kLowest), x));
  const V biased = V::Fma(clamped, V::Set(1.44269504f), V::Set(kRound));
  const V n = biased - V::Set(kRound);
  V r = V::Fma(n, V::Set(-0.693359375f), clamped);
  r = V::Fma(n, V::Set(2.12194440e-4f), r);
  V p = V::Set(1.0f / 5040);
  p = V::Fma(p, r, V::Set(1.0f / 720));
  p = V::Fma(p, r, V::Set(1.0f / 120));
  p = V::Fma(p, r, V::Set(1.0f / 24));
  p = V::Fma(p, r, V::Set(1.0f / 6));
  p = V::Fma(p, r, V::Set(0.5f));
  p = V::Fma(p, r, V::Set(1.0f));
  p = V::Fma(p, r, V::Set(1.0f));
  const V y = p * V::PowerOfTwo(biased);
  const V bounded = V::SelectLess(V::Set(kHighest), x, V::Set(__builtin_huge_valf()), y);
  return V::SelectLess(x, V::Set(kLowest), V::Zero(), bounded);
}

// The first `count` < 16 lanes from p, zeros above: nothing outside the array is touched.
template <class V>
V LoadFirst(const float* p, int count) {
  alignas(64) float lanes[kPanel] = {};
  std::memcpy(lanes, p, static_cast<size_t>(count) * sizeof(float));
  return V::Load(lanes);
}
template <class V>
void StoreFirst(V x, float* p, int count) {
  alignas(64) float lanes[kPanel];
  x.Store(lanes);
  std::memcpy(p, lanes, static_cast<size_t>(count) * sizeof(float));
}

// 16 stored keys or values.
template <class V, DType D>
V LoadStored(const uint8_t* p) {
  if constexpr (D == DType::kF16) {
    return V::LoadF16(p);
  } else if constexpr (D == DType::kBf16) {
    return V::LoadBf16(p);
  } else {
    return V::Load(reinterpret_cast<const float*>(p));
  }
}
template <DType D>
constexpr int kStoredBytes = D == DType::kF32 ? 4 : 2;

template <class V, DType D>
V LoadFirstStored(const uint8_t* p, int count) {
  alignas(64) uint8_t lanes[kPanel * 4] = {};
  std::memcpy(lanes, p, static_cast<size_t>(count) * kStoredBytes<D>);
  return LoadStored<V, D>(lanes);
}

}  // namespace lckv::cpu
