#pragma once

#include <cstdint>

#include "engine/ops/cpu/kernels.h"
#include "engine/ops/cpu/math_inl.h"

namespace lckv::cpu {

// dots[h] = the 16 partial sums of q[h] . key; the key is loaded and widened once for all heads.
template <class V, DType D, int kHeads>
void Dots(const AttentionState& state, const uint8_t* key, int32_t head_dim, V (&dots)[kHeads]) {
#pragma GCC unroll 4
  for (int h = 0; h < kHeads; ++h) dots[h] = V::Zero();
  int32_t c = 0;
  for (; c + kPanel <= head_dim; c += kPanel) {
    const V k = LoadStored<V, D>(key + c * kStoredBytes<D>);
#pragma GCC unroll 4
    for (int h = 0; h < kHeads; ++h) dots[h] = V::Fma(V::Load(state.q[h] + c), k, dots[h]);
  }
  if (c < head_dim) {
    const V k = LoadFirstStored<V, D>(key + c * kStoredBytes<D>, head_dim - c);
#pragma GCC unroll 4
    for (int h = 0; h < kHeads; ++h) dots[h] = V::Fma(V::Load(state.q[h] + c), k, dots[h]);
  }
}

// scores[h][i] = q[h] . K[i] * scale for the visible positions of the block, minus infinity for the
// others. Partial sums of eight positions are added together, which takes a third of the
// instructions of eight sums.
template <class V, DType D, int kHeads>
void Scores(const AttentionBlock& block, AttentionState& state) {
  const int32_t end = block.first + block.count;
  for (int32_t i0 = 0; i0 < kAttentionBlock; i0 += 8) {
    V partial[kHeads][8];
    for (int32_t i = 0; i < 8; ++i) {
      V dots[kHeads];
      if (i0 + i >= block.first && i0 + i < end) {
        Dots<V, D, kHeads>(state, block.keys[i0 + i], block.head_dim, dots);
      } else {
        for (int h = 0; h < kHeads; ++h) dots[h] = V::Zero();
      }
      for (int h = 0; h < kHeads; ++h) partial[h][i] = dots[h];
    }
    for (int h = 0; h < kHeads; ++h) V::SumEach(partial[h], block.scale, state.scores[h] + i0);
  }
  for (int h = 0; h < kHeads; ++h) {
    for (int32_t i = 0; i < block.first; ++i) state.scores[h][i] = -__builtin_huge_valf();
    for (int32_t i = end; i < kAttentionBlock; ++i) state.scores[h][i] = -__builtin_huge_valf();
  }
}

// Turns one head's scores into weights exp(score - largest) and brings its sum to the new largest.
// Returns the factor by which the earlier output shrinks.
template <class V>
float UpdateSoftmax(float* scores, float& largest, float& sum) {
  V largest_each = V::Set(largest);
  for (int i = 0; i < kAttentionBlock; i += kPanel) {
    largest_each = V::Max(V::Load(scores + i), largest_each);
  }
  const float largest_now = largest_each.Largest();
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

// out[h] = out[h] * shrink[h] + sum over positions of weight * V, positions in order, for kVecs
// vectors of the head from component c on.
template <class V, DType D, int kHeads, int kVecs>
void AddValues(const AttentionBlock& block, const float* shrink, int32_t c, AttentionState& state) {
  const int32_t left = block.head_dim - c;
  const int64_t offset = block.value_offset_bytes + c * kStoredBytes<D>;
  V out[kVecs * kHeads];
#pragma GCC unroll 8
  for (int n = 0; n < kVecs * kHeads; ++n) {
    const int h = n % kHeads;
    out[n] = V::Load(state.out[h] + c + n / kHeads * kPanel) * V::Set(shrink[h]);
  }
  for (int32_t i = block.first; i < block.first + block.count; ++i) {
    const uint8_t* p = block.keys[i] + offset;
#pragma GCC unroll 2
    for (int v = 0; v < kVecs; ++v) {
      const V value = left < kPanel ? LoadFirstStored<V, D>(p, left)
                                    : LoadStored<V, D>(p + v * kPanel * kStoredBytes<D>);
#pragma GCC unroll 4
      for (int h = 0; h < kHeads; ++h) {
        V& sum = out[v * kHeads + h];
        sum = V::Fma(V::Set(state.scores[h][i]), value, sum);
      }
    }
  }
#pragma GCC unroll 8
  for (int n = 0; n < kVecs * kHeads; ++n) {
    out[n].Store(state.out[n % kHeads] + c + n / kHeads * kPanel);
  }
}

template <class V, DType D, int kHeads>
void AttendHeads(const AttentionBlock& block, AttentionState& state) {
  Scores<V, D, kHeads>(block, state);
  float shrink[kHeads];
  for (int h = 0; h < kHeads; ++h) {
    shrink[h] = UpdateSoftmax<V>(state.scores[h], state.largest[h], state.sum[h]);
  }
  // Two vectors at a time where 16 registers hold their sums.
  constexpr int kVecs = kHeads < 4 ? 2 : 1;
  int32_t c = 0;
  for (; c + kVecs * kPanel <= block.head_dim; c += kVecs * kPanel) {
    AddValues<V, D, kHeads, kVecs>(block, shrink, c, state);
  }
  for (; c < block.head_dim; c += kPanel) AddValues<V, D, kHeads, 1>(block, shrink, c, state);
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
