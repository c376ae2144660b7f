#pragma once

#include <cstdint>

#include "engine/ops/cpu/kernels.h"
#include "engine/ops/cpu/math_inl.h"

namespace lckv::cpu {

// scores[h][i] = q[h] . K[i] * scale for the visible positions of the block, minus infinity for the
// others. Each K is loaded and widened once for all heads.
template <class V, DType D, int kHeads>
void Scores(const AttentionBlock& block, AttentionState& state) {
  const int32_t whole = block.head_dim / kPanel * kPanel;
  const int32_t rest = block.head_dim - whole;
  for (int h = 0; h < kHeads; ++h) {
    for (float& score : state.scores[h]) score = -__builtin_huge_valf();
  }
  for (int32_t i = block.first; i < block.first + block.count; ++i) {
    const uint8_t* key = block.keys[i];
    V dot[kHeads];
#pragma GCC unroll 4
    for (int h = 0; h < kHeads; ++h) dot[h] = V::Zero();
    for (int32_t c = 0; c < whole; c += kPanel) {
      const V k = LoadStored<V, D>(key + c * kStoredBytes<D>);
#pragma GCC unroll 4
      for (int h = 0; h < kHeads; ++h) dot[h] = V::Fma(V::Load(state.q[h] + c), k, dot[h]);
    }
    if (rest > 0) {
      const V k = LoadFirstStored<V, D>(key + whole * kStoredBytes<D>, rest);
#pragma GCC unroll 4
      for (int h = 0; h < kHeads; ++h) dot[h] = V::Fma(V::Load(state.q[h] + whole), k, dot[h]);
    }
#pragma GCC unroll 4
    for (int h = 0; h < kHeads; ++h) state.scores[h][i] = dot[h].Sum() * block.scale;
  }
}

// Turns one head's scores into weights exp(score - largest) and brings its sum to the new largest.
// Returns the factor by which the earlier output shrinks.
template <class V>
float UpdateSoftmax(float* scores, float& largest, float& sum) {
  float largest_now = largest;
  for (int i = 0; i < kAttentionBlock; ++i) {
    largest_now = scores[i] > largest_now ? scores[i] : largest_now;
  }
  const V offset = V::Set(largest_now);
  V sums = V::Zero();
  for (int i = 0; i < kAttentionBlock; i += kPanel) {
    const V weight = Exp<V>(V::Load(scores + i) - offset);
    weight.Store(scores + i);
    sums = sums + weight;
  }
  alignas(64) float shrink[kPanel];
  Exp<V>(V::Set(largest - largest_now)).Store(shrink);
  sum = sum * shrink[0] + sums.Sum();
  largest = largest_now;
  return shrink[0];
}

// out[h] = out[h] * shrink[h] + sum over positions of weight * V, positions in order.
template <class V, DType D, int kHeads>
void AddValues(const AttentionBlock& block, const float (&shrink)[kHeads], AttentionState& state) {
  for (int32_t c = 0; c < block.head_dim; c += kPanel) {
    const int32_t rest = block.head_dim - c;
    const int64_t offset = block.value_offset_bytes + c * kStoredBytes<D>;
    V out[kHeads];
#pragma GCC unroll 4
    for (int h = 0; h < kHeads; ++h) out[h] = V::Load(state.out[h] + c) * V::Set(shrink[h]);
    for (int32_t i = block.first; i < block.first + block.count; ++i) {
      const uint8_t* p = block.keys[i] + offset;
      const V value = rest < kPanel ? LoadFirstStored<V, D>(p, rest) : LoadStored<V, D>(p);
#pragma GCC unroll 4
      for (int h = 0; h < kHeads; ++h) out[h] = V::Fma(V::Set(state.scores[h][i]), value, out[h]);
    }
#pragma GCC unroll 4
    for (int h = 0; h < kHeads; ++h) out[h].Store(state.out[h] + c);
  }
}

template <class V, DType D, int kHeads>
void AttendHeads(const AttentionBlock& block, AttentionState& state) {
  Scores<V, D, kHeads>(block, state);
  float shrink[kHeads];
  for (int h = 0; h < kHeads; ++h) {
    shrink[h] = UpdateSoftmax<V>(state.scores[h], state.largest[h], state.sum[h]);
  }
  AddValues<V, D, kHeads>(block, shrink, state);
}

template <class V, DType D>
void AttendAs(const AttentionBlock& block, AttentionState& state) {
  static_assert(kMaxGroup == 4);
  switch (block.heads) {
    case 1:
      return AttendHeads<V, D, 1>(block, state);
    case 2:
      return AttendHeads<V, D, 2>(block, state);
    case 3:
      return AttendHeads<V, D, 3>(block, state);
    default:
      return AttendHeads<V, D, 4>(block, state);
  }
}

template <class V>
void Attend(const AttentionBlock& block, AttentionState& state) {
  if (block.dtype == DType::kF16) return AttendAs<V, DType::kF16>(block, state);
  if (block.dtype == DType::kBf16) return AttendAs<V, DType::kBf16>(block, state);
  return AttendAs<V, DType::kF32>(block, state);
}

}  // namespace lckv::cpu
