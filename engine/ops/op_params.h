#pragma once

// What an op is asked to do, for the ops that read no weights of a backend's own. Plain data:
// kernels take it as it is.

#include <cstdint>

#include "engine/ops/host_device.h"
#include "engine/ops/kv_table.h"
#include "engine/sampling/sampling_options.h"
#include "engine/tensor/dtype_enum.h"

namespace lckv {

// Every pointer in a parameter struct is backend memory (DeviceBuffer), float32 unless it says
// otherwise, row-major without padding; `rows` may be 0, and then the op does nothing. Outputs
// never overlap inputs unless the op says so.

// Values that a matrix product reads, in the format of Backend::activation_dtype(): kF32, or kBf16
// rounded to nearest even. The ops right before a product write them so.
struct Activations {
  Activations() = default;
  LCKV_HOST_DEVICE Activations(float* values) : data(values) {}  // implicit: float32 is the rule
  LCKV_HOST_DEVICE Activations(void* values, DType format) : data(values), dtype(format) {}
  // REQUIRES: kF32.
  LCKV_HOST_DEVICE float* floats() const { return static_cast<float*>(data); }
  void* data = nullptr;
  DType dtype = DType::kF32;
};
struct ConstActivations {
  ConstActivations() = default;
  LCKV_HOST_DEVICE ConstActivations(const float* values) : data(values) {}
  LCKV_HOST_DEVICE ConstActivations(const Activations& other)
      : data(other.data), dtype(other.dtype) {}
  // REQUIRES: kF32.
  LCKV_HOST_DEVICE const float* floats() const { return static_cast<const float*>(data); }
  const void* data = nullptr;
  DType dtype = DType::kF32;
};

// out[r] = x[r] / sqrt(mean(x[r]^2) + eps) * weight. Shapes: x, out [rows][size], weight [size].
// A float32 out may be x.
struct RmsNormParams {
  const float* x;
  const float* weight;
  float eps;
  int32_t rows;
  int32_t size;
  Activations out;
};

// Queries that are rotated in place. Shapes: q [rows][heads][head_dim], positions int32 [rows].
struct QueryRows {
  float* q = nullptr;
  const int32_t* positions = nullptr;
  int32_t rows = 0;
  int32_t heads = 0;
  int32_t head_dim = 0;  // even
};
// Keys, which are rotated on their way, and values, both rounded to `dtype` (nearest even), for
// their sequences' own pages. Shapes: k, v [rows][kv_heads][head_dim], or with `source` [*][…]:
// row r is then their row source[r]; positions, source int32 [rows], table_of_row int32 [rows] ->
// tables.
struct KvRows {
  const float* k = nullptr;
  const float* v = nullptr;
  const int32_t* source = nullptr;  // or null
  const int32_t* positions = nullptr;
  const int32_t* table_of_row = nullptr;
  const KvTable* tables = nullptr;
  KvShape shape;  // head_dim even
  DType dtype = DType::kF32;
  int32_t rows = 0;
};
// Rotates the queries and writes K and V; rows of the one and of the other have nothing to do with
// each other. A rotation turns the pairs (i, i + head_dim/2) of a head at position p by the angle p
// * frequency[i]; cos_sin [max_positions][head_dim] = cos of the head_dim/2 angles, then their
// sines. A null cos_sin: K is written as it is, and there are no queries.
struct RopeAndStoreParams {
  const float* cos_sin = nullptr;
  QueryRows queries;
  KvRows kv;
};

// Scaled dot-product attention over stored K/V with grouped query heads (query head h reads kv head
// h / (heads / kv_heads)): row r at position p sees the positions j with
//   j < visible_end of its table,  j < p if nodiag else j <= p,
//   and, if window > 0, j > p - window or j < sinks.
// Nothing visible: the output is zero. The order of sums depends on p and the visible range only.
// Shapes: q, out [rows][heads][head_dim]; positions, table_of_row int32 [rows].
struct AttentionParams {
  const float* q;
  const int32_t* positions;
  const int32_t* table_of_row;
  const KvTable* tables;
  KvShape shape;
  DType dtype;
  int32_t rows;
  int32_t heads;
  int32_t window;  // 0: none
  bool nodiag;
  float scale;
  int32_t max_position;  // no less than any of `positions`: sizes the scratch
  Activations out;
  int32_t sinks = 0;  // first positions of the sequence that stay visible beyond the window
  // The last so many rows are alone, or nearly, in reading their sequence; the rows before them
  // come as runs of rows of one sequence. For speed only: no bit depends on it.
  int32_t decode_rows = 0;
};

// out[r][i] = silu(gate[r][i]) * up[r][i], silu(x) = x / (1 + exp(-x)). Shapes [rows][size]. A
// float32 out may be gate.
struct SwiGluParams {
  const float* gate;
  const float* up;
  int32_t rows;
  int32_t size;
  Activations out;
};

// The relative change of one pass: for each row  ||new - old||_2 / max(||new||_2, tiny)  over K and
// V of all kv heads (stored values), old in `previous`, new in `current` (own pages of both
// tables). out [rows].
struct KvChangeParams {
  const int32_t* positions;
  const int32_t* table_of_row;
  const KvTable* previous;
  const KvTable* current;
  KvShape shape;
  DType dtype;
  int32_t rows;
  float* out;
};

// Copies rows between places of their own: to[i][0, size) = from[i][0, size). `from` and `to` are
// arrays [rows] of addresses; rows that are written overlap no other row.
struct CopyRowsParams {
  const float* const* from;
  float* const* to;
  int32_t rows;
  int32_t size;
};

// Copies rows: out[i] = x[indices[i]]. Shapes: x [*][size], indices int32 [rows], out [rows][size].
struct GatherRowsParams {
  const float* x;
  const int32_t* indices;
  int32_t rows;
  int32_t size;
  float* out;
};

// How one row of logits becomes a token.
struct SampleRow {
  SamplingOptions options;
  uint64_t position = 0;  // of the token to be chosen
};

// out[r] = the token that Sampler (engine/sampling/sampler.h) chooses from logits[r]. Shapes:
// logits [rows][vocab], choices [rows], out int32 [rows].
struct SampleParams {
  const float* logits;
  const SampleRow* choices;
  int32_t rows;
  int32_t vocab;  // in [1, kMaxSampledVocabulary]
  int32_t* out;
};

// Checksums of pages: out[r] = Crc32c (base/crc32c.h) of the `page_bytes` bytes at pages[r].
// Shapes: pages: addresses [rows]; out uint32 [rows].
struct Crc32cParams {
  const void* const* pages;  // aligned to 4 bytes
  int64_t page_bytes;        // a positive multiple of 4
  int32_t rows;
  uint32_t* out;
};

}  // namespace lckv
