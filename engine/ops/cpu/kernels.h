#pragma once

#include <cstdint>

#include "engine/ops/cpu/isa.h"
#include "engine/tensor/dtype.h"

namespace lckv::cpu {

// The inner loops, compiled once per instruction set from the same templates. Plain structs and
// function pointers: nothing here may be an inline function with external linkage, lest the linker
// keep the copy of the wrong instruction set.
//
// Every reduction has one order, whatever the width of the hardware's vectors, the number of rows
// or the thread:
//   Linear        Each output adds its products w * x in the order of k with fused multiply-adds
//                 from zero. The weight is restored to float32 before: d * q, or fma(d, q, m).
//   dot products  16 partial sums by index modulo 16, added as a tree: i + i+8, + i+4, + i+2, +
//   i+1. softmax       Online, over blocks of kAttentionBlock positions aligned to absolute
//   position 0.

// Output features of a weight panel; also the lanes of a vector.
inline constexpr int kPanel = 16;
// Rows for which a restored panel is used before it is restored again.
inline constexpr int kRowBlock = 96;
// Weights of a panel that are restored at a time, per output feature: 16 KiB, half of a first-level
// cache.
inline constexpr int kKChunk = 256;
// Positions that the online softmax takes at a time.
inline constexpr int kAttentionBlock = 64;
// Query heads that share one walk over K and V.
inline constexpr int kMaxGroup = 4;
inline constexpr int kMaxHeadDim = 512;

// out[r] (+)= W x[r] + bias, W in panels (packed_weight.h).
struct LinearArgs {
  const uint8_t* panels;
  int64_t panel_bytes;
  DType dtype;
  int32_t in_features;
  int32_t out_features;
  const float* x;
  const float* bias;  // or null
  int32_t rows;
  bool accumulate;
  float* out;
};

struct alignas(64) LinearScratch {
  float weights[kKChunk * kPanel];    // [k][kPanel]
  float partial[kRowBlock * kPanel];  // [row][kPanel] sums of earlier chunks
};

// A block of positions that `heads` query heads of one row see.
struct AttentionBlock {
  // K of one kv head at position (block start + i), for i in [first, first + count).
  const uint8_t* keys[kAttentionBlock];
  int32_t first;
  int32_t count;  // > 0
  int32_t heads;  // <= kMaxGroup
  int32_t head_dim;
  int64_t value_offset_bytes;  // from a position's K to its V
  DType dtype;
  float scale;
};

// Online softmax of `heads` query heads. Before the first block: q set and padded with zeros to a
// multiple of kPanel, `out` and `sum` zero, `largest` minus infinity. After the last: out / sum.
struct alignas(64) AttentionState {
  float q[kMaxGroup][kMaxHeadDim];
  float out[kMaxGroup][kMaxHeadDim];
  float scores[kMaxGroup][kAttentionBlock];
  float largest[kMaxGroup];
  float sum[kMaxGroup];
};

struct Kernels {
  // Items [begin, end) of the row-block-major grid [ceil(rows / kRowBlock)][ceil(out_features /
  // kPanel)].
  void (*linear)(const LinearArgs& args, int64_t begin, int64_t end, LinearScratch& scratch);
  // One row.
  void (*rms_norm)(const float* x, const float* weight, float eps, int32_t size, float* out);
  // One row of heads; `cos_sin` [head_dim] of its position. `out` may be x.
  void (*rope)(const float* cos_sin, int32_t heads, int32_t head_dim, const float* x, float* out);
  void (*swi_glu)(const float* gate, const float* up, int64_t count, float* out);
  // Rounds `count` values to kF32, kF16 or kBf16.
  void (*store_kv)(const float* values, int32_t count, DType dtype, uint8_t* out);
  // Adds sum((after - before)^2) to change, sum(after^2) to norm.
  void (*kv_change)(const uint8_t* before, const uint8_t* after, int32_t count, DType dtype,
                    float& change, float& norm);
  void (*attend)(const AttentionBlock& block, AttentionState& state);
};

// REQUIRES: IsSupported(isa).
const Kernels& KernelsFor(Isa isa);

const Kernels& GenericKernels();
const Kernels& Avx2Kernels();
const Kernels& Avx512Kernels();

}  // namespace lckv::cpu
