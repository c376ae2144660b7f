#pragma once

#include <cstdint>
#include <cstring>

#include "engine/ops/cpu/kernels.h"
#include "engine/ops/cpu/math_inl.h"

namespace lckv::cpu {

template <class V>
void RmsNorm(const float* x, const float* weight, float eps, int32_t size, float* out) {
  const int32_t whole = size / kPanel * kPanel;
  V squares = V::Zero();
  for (int32_t i = 0; i < whole; i += kPanel) {
    const V v = V::Load(x + i);
    squares = V::Fma(v, v, squares);
  }
  if (whole < size) {
    const V v = LoadFirst<V>(x + whole, size - whole);
    squares = V::Fma(v, v, squares);
  }
  const float scale = 1.0f / __builtin_sqrtf(squares.Sum() / static_cast<float>(size) + eps);
  for (int32_t i = 0; i < whole; i += kPanel) {
    (V::Load(x + i) * V::Set(scale) * V::Load(weight + i)).Store(out + i);
  }
  if (whole < size) {
    const int rest = size - whole;
    const V v = LoadFirst<V>(x + whole, rest) * V::Set(scale) * LoadFirst<V>(weight + whole, rest);
    StoreFirst(v, out + whole, rest);
  }
}

template <class V>
void Rope(const float* cos_sin, int32_t heads, int32_t head_dim, const float* x, float* out) {
  const int32_t half = head_dim / 2;
  const float* sines = cos_sin + half;
  for (int32_t h = 0; h < heads; ++h) {
    const float* first = x + static_cast<int64_t>(h) * head_dim;
    const float* second = first + half;
    float* out_first = out + static_cast<int64_t>(h) * head_dim;
    float* out_second = out_first + half;
    for (int32_t i = 0; i < half; i += kPanel) {
      const int count = half - i < kPanel ? half - i : kPanel;
      const bool all = count == kPanel;
      const V a = all ? V::Load(first + i) : LoadFirst<V>(first + i, count);
      const V b = all ? V::Load(second + i) : LoadFirst<V>(second + i, count);
      const V c = all ? V::Load(cos_sin + i) : LoadFirst<V>(cos_sin + i, count);
      const V s = all ? V::Load(sines + i) : LoadFirst<V>(sines + i, count);
      const V rotated_a = V::Fma(a, c, V::Zero() - b * s);
      const V rotated_b = V::Fma(b, c, a * s);
      if (all) {
        rotated_a.Store(out_first + i);
        rotated_b.Store(out_second + i);
      } else {
        StoreFirst(rotated_a, out_first + i, count);
        StoreFirst(rotated_b, out_second + i, count);
      }
    }
  }
}

template <class V>
V SwiGluLanes(V gate, V up) {
  const V silu = gate / (V::Set(1.0f) + Exp<V>(V::Zero() - gate));
  return silu * up;
}

template <class V>
void SwiGlu(const float* gate, const float* up, int64_t count, float* out) {
  int64_t i = 0;
  for (; i + kPanel <= count; i += kPanel) {
    SwiGluLanes(V::Load(gate + i), V::Load(up + i)).Store(out + i);
  }
  if (i < count) {
    const int rest = static_cast<int>(count - i);
    const V v = SwiGluLanes(LoadFirst<V>(gate + i, rest), LoadFirst<V>(up + i, rest));
    StoreFirst(v, out + i, rest);
  }
}

template <class V, DType D>
void StoreLanes(V x, uint8_t* out) {
  if constexpr (D == DType::kF16) {
    x.StoreF16(out);
  } else {
    x.StoreBf16(out);
  }
}

template <class V, DType D>
void StoreRounded(const float* values, int32_t count, uint8_t* out) {
  int32_t i = 0;
  for (; i + kPanel <= count; i += kPanel) StoreLanes<V, D>(V::Load(values + i), out + 2 * i);
  if (i < count) {
    uint8_t lanes[2 * kPanel];
    StoreLanes<V, D>(LoadFirst<V>(values + i, count - i), lanes);
    std::memcpy(out + 2 * i, lanes, static_cast<size_t>(count - i) * 2);
  }
}

template <class V>
void StoreKv(const float* values, int32_t count, DType dtype, uint8_t* out) {
  if (dtype == DType::kF16) {
    StoreRounded<V, DType::kF16>(values, count, out);
  } else if (dtype == DType::kBf16) {
    StoreRounded<V, DType::kBf16>(values, count, out);
  } else {
    std::memcpy(out, values, static_cast<size_t>(count) * sizeof(float));
  }
}

template <class V, DType D>
void KvChangeOf(const uint8_t* before, const uint8_t* after, int32_t count, float& change,
                float& norm) {
  V changes = V::Zero();
  V norms = V::Zero();
  for (int32_t i = 0; i < count; i += kPanel) {
    const int64_t offset = static_cast<int64_t>(i) * kStoredBytes<D>;
    const int rest = count - i;
    const V a = rest < kPanel ? LoadFirstStored<V, D>(before + offset, rest)
                              : LoadStored<V, D>(before + offset);
    const V b = rest < kPanel ? LoadFirstStored<V, D>(after + offset, rest)
                              : LoadStored<V, D>(after + offset);
    changes = V::Fma(b - a, b - a, changes);
    norms = V::Fma(b, b, norms);
  }
  change += changes.Sum();
  norm += norms.Sum();
}

template <class V>
void KvChange(const uint8_t* before, const uint8_t* after, int32_t count, DType dtype,
              float& change, float& norm) {
  if (dtype == DType::kF16) return KvChangeOf<V, DType::kF16>(before, after, count, change, norm);
  if (dtype == DType::kBf16) return KvChangeOf<V, DType::kBf16>(before, after, count, change, norm);
  return KvChangeOf<V, DType::kF32>(before, after, count, change, norm);
}

}  // namespace lckv::cpu
