#include "engine/ops/cpu/cpu_attention.h"

#include <algorithm>
#include <limits>

#include "base/check.h"

namespace lckv::cpu {
namespace {

// Sets keys[j - block_begin] for j in [begin, end).
void FindKeys(const KvTable& table, const KvShape& shape, int32_t kv_head, int64_t value_bytes,
              int32_t block_begin, int32_t begin, int32_t end, const uint8_t** keys) {
  const int64_t stride_bytes = shape.head_dim * value_bytes;
  for (int32_t j = begin; j < end;) {
    const uint8_t* key = KvKey(KvPage(table, shape, j), shape, kv_head, j, value_bytes);
    // The run ends with the page, or where the own pages take over from the past.
    int32_t run_end = std::min(end, j + shape.tokens_per_page - j % shape.tokens_per_page);
    if (j < table.split) run_end = std::min(run_end, table.split);
    for (; j < run_end; ++j, key += stride_bytes) keys[j - block_begin] = key;
  }
}

void StartState(const float* q, int32_t heads, int32_t head_dim, AttentionState& state) {
  const int32_t padded = (head_dim + kPanel - 1) / kPanel * kPanel;
  for (int32_t h = 0; h < heads; ++h) {
    std::copy_n(q + static_cast<int64_t>(h) * head_dim, head_dim, state.q[h]);
    std::fill(state.q[h] + head_dim, state.q[h] + padded, 0.0f);
    std::fill(state.out[h], state.out[h] + padded, 0.0f);
    state.largest[h] = -std::numeric_limits<float>::infinity();
    state.sum[h] = 0;
  }
}

}  // namespace

CpuAttention::CpuAttention(const Kernels& kernels, ThreadPool& pool)
    : kernels_(kernels), pool_(pool), scratch_(static_cast<size_t>(pool.num_threads())) {}

void CpuAttention::Run(const AttentionParams& params) {
  const KvShape& shape = params.shape;
  LCKV_CHECK(shape.head_dim > 0 && shape.head_dim <= kMaxHeadDim);
  LCKV_CHECK(shape.kv_heads > 0 && params.heads % shape.kv_heads == 0);
  const int32_t group = params.heads / shape.kv_heads;
  const int32_t parts = (group + kMaxGroup - 1) / kMaxGroup;
  // Rows vary fastest: rows that follow each other usually read the same pages.
  const int64_t rows = params.rows;
  const int64_t items = rows * shape.kv_heads * parts;
  const int64_t most_positions =
      params.window > 0 ? std::min(params.window + params.sinks, params.max_position + 1)
                        : params.max_position + 1;
  const int64_t item_work = most_positions * shape.head_dim * std::min(group, kMaxGroup);
  pool_.ParallelFor(items, item_work, [&](int64_t begin, int64_t end, int thread) {
    Scratch& scratch = scratch_[static_cast<size_t>(thread)];
    for (int64_t item = begin; item < end; ++item) {
      const auto kv_head = static_cast<int32_t>(item / rows / parts);
      const auto part = static_cast<int32_t>(item / rows % parts);
      const int32_t first = group * part / parts;
      const int32_t last = group * (part + 1) / parts;
      Attend(params, item % rows, kv_head * group + first, last - first, scratch);
    }
  });
}

void CpuAttention::Attend(const AttentionParams& params, int64_t row, int32_t first_head,
                          int32_t heads, Scratch& scratch) const {
  const KvShape& shape = params.shape;
  const KvTable& table = params.tables[params.table_of_row[row]];
  const int32_t kv_head = first_head / (params.heads / shape.kv_heads);
  const int64_t offset = (row * params.heads + first_head) * shape.head_dim;
  const KvRange range =
      VisibleRange(table, params.positions[row], params.window, params.sinks, params.nodiag);

  AttentionState& state = scratch.state;
  AttentionBlock& block = scratch.block;
  StartState(params.q + offset, heads, shape.head_dim, state);
  block.heads = heads;
  block.head_dim = shape.head_dim;
  block.value_offset_bytes = shape.value_offset_bytes;
  block.dtype = params.dtype;
  block.scale = params.scale;
  const int64_t value_bytes = BytesOf(params.dtype, 1);
  const auto attend = [&](int32_t begin, int32_t range_end) {
    while (begin < range_end) {
      const int32_t block_begin = begin / kAttentionBlock * kAttentionBlock;
      const int32_t end = std::min(range_end - block_begin, kAttentionBlock) + block_begin;
      FindKeys(table, shape, kv_head, value_bytes, block_begin, begin, end, block.keys);
      block.first = begin - block_begin;
      block.count = end - begin;
      kernels_.attend(block, state);
      begin = end;
    }
  };
  attend(0, range.sinks);
  attend(range.begin, range.end);

  for (int32_t h = 0; h < heads; ++h) {
    float* out = params.out.floats() + offset + static_cast<int64_t>(h) * shape.head_dim;
    // Nothing visible: zero, not 0 / 0.
    const bool any = range.sinks > 0 || range.begin < range.end;
    const float sum = any ? state.sum[h] : 1.0f;
    for (int32_t i = 0; i < shape.head_dim; ++i) out[i] = state.out[h][i] / sum;
  }
}

}  // namespace lckv::cpu
