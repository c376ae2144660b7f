#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "engine/ops/kv_address.h"
#include "engine/ops/reference/reference_ops.h"

namespace lckv::reference {
namespace {

// Softmax of `scores` in place.
void Softmax(std::vector<double>& scores) {
  double largest = -std::numeric_limits<double>::infinity();
  for (double score : scores) largest = std::max(largest, score);
  double sum = 0;
  for (double& score : scores) {
    score = std::exp(score - largest);
    sum += score;
  }
  for (double& score : scores) score /= sum;
}

// The rule of AttentionParams, condition by condition.
bool IsVisible(const AttentionParams& params, const KvTable& table, int32_t p, int32_t j) {
  if (j >= table.visible_end) return false;
  if (params.nodiag ? j >= p : j > p) return false;
  return params.window == 0 || j > p - params.window || j < params.sinks;
}

// One query head of one row: q, out [head_dim].
void AttendHead(const AttentionParams& params, int64_t row, int32_t kv_head, const float* q,
                float* out) {
  const KvShape& shape = params.shape;
  const KvTable& table = params.tables[params.table_of_row[row]];
  const int64_t element_bytes = BytesOf(params.dtype, 1);
  const auto key_at = [&](int32_t position) {
    return KvKey(KvPage(table, shape, position), shape, kv_head, position, element_bytes);
  };

  std::vector<int32_t> visible;
  for (int32_t j = 0; j <= params.positions[row]; ++j) {
    if (IsVisible(params, table, params.positions[row], j)) visible.push_back(j);
  }
  std::vector<double> weights;
  for (int32_t j : visible) {
    double dot = 0;
    for (int32_t i = 0; i < shape.head_dim; ++i) {
      dot += static_cast<double>(q[i]) * LoadKv(key_at(j), params.dtype, i);
    }
    weights.push_back(dot * static_cast<double>(params.scale));
  }
  Softmax(weights);

  std::vector<double> sum(static_cast<size_t>(shape.head_dim), 0.0);
  for (size_t n = 0; n < visible.size(); ++n) {
    const uint8_t* value = key_at(visible[n]) + shape.value_offset_bytes;
    for (int32_t i = 0; i < shape.head_dim; ++i) {
      sum[static_cast<size_t>(i)] += weights[n] * LoadKv(value, params.dtype, i);
    }
  }
  for (int32_t i = 0; i < shape.head_dim; ++i) {
    out[i] = static_cast<float>(sum[static_cast<size_t>(i)]);
  }
}

}  // namespace

void Attention(const AttentionParams& params) {
  const int32_t group = params.heads / params.shape.kv_heads;
  for (int64_t r = 0; r < params.rows; ++r) {
    for (int32_t h = 0; h < params.heads; ++h) {
      const int64_t offset = (r * params.heads + h) * params.shape.head_dim;
      AttendHead(params, r, h / group, params.q + offset, params.out.floats() + offset);
    }
  }
}

}  // namespace lckv::reference
