#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "base/check.h"
#include "engine/ops/kv_address.h"
#include "engine/ops/reference/reference_ops.h"

namespace lckv::reference {

double LoadKv(const uint8_t* values, DType dtype, int64_t index) {
  if (dtype == DType::kF32) {
    float value;
    std::memcpy(&value, values + 4 * index, sizeof(value));
    return static_cast<double>(value);
  }
  LCKV_CHECK(dtype == DType::kF16 || dtype == DType::kBf16);
  uint16_t bits;
  std::memcpy(&bits, values + 2 * index, sizeof(bits));
  return static_cast<double>(dtype == DType::kF16 ? F16ToF32(bits) : Bf16ToF32(bits));
}

namespace {

// out: one head rotated; `cos_sin` [head_dim] of its position. May be in place.
void Rotate(const float* cos_sin, int32_t head_dim, const float* x, float* out) {
  const int32_t half = head_dim / 2;
  for (int32_t i = 0; i < half; ++i) {
    const double a = static_cast<double>(x[i]);
    const double b = static_cast<double>(x[i + half]);
    const double c = static_cast<double>(cos_sin[i]);
    const double s = static_cast<double>(cos_sin[i + half]);
    out[i] = static_cast<float>(a * c - b * s);
    out[i + half] = static_cast<float>(b * c + a * s);
  }
}

void StoreRow(const KvRows& kv, const float* cos_sin, int64_t r) {
  const KvShape& shape = kv.shape;
  const int64_t element_bytes = BytesOf(kv.dtype, 1);
  uint8_t* page = KvOwnPage(kv.tables[kv.table_of_row[r]], shape, kv.positions[r]);
  const int64_t from = kv.source == nullptr ? r : kv.source[r];
  std::vector<float> key_values(static_cast<size_t>(shape.head_dim));
  for (int32_t h = 0; h < shape.kv_heads; ++h) {
    const int64_t row = (from * shape.kv_heads + h) * shape.head_dim;
    uint8_t* key = KvKey(page, shape, h, kv.positions[r], element_bytes);
    std::copy_n(kv.k + row, shape.head_dim, key_values.data());
    if (cos_sin != nullptr) {
      Rotate(cos_sin + static_cast<int64_t>(kv.positions[r]) * shape.head_dim, shape.head_dim,
             key_values.data(), key_values.data());
    }
    QuantizeRow(key_values.data(), shape.head_dim, kv.dtype, key);
    QuantizeRow(kv.v + row, shape.head_dim, kv.dtype, key + shape.value_offset_bytes);
  }
}

}  // namespace

void RopeAndStore(const RopeAndStoreParams& params) {
  const QueryRows& queries = params.queries;
  for (int64_t r = 0; r < queries.rows; ++r) {
    const float* cos_sin =
        params.cos_sin + static_cast<int64_t>(queries.positions[r]) * queries.head_dim;
    for (int32_t h = 0; h < queries.heads; ++h) {
      float* q = queries.q + (r * queries.heads + h) * queries.head_dim;
      Rotate(cos_sin, queries.head_dim, q, q);
    }
  }
  for (int64_t r = 0; r < params.kv.rows; ++r) StoreRow(params.kv, params.cos_sin, r);
}

void KvChange(const KvChangeParams& params) {
  const KvShape& shape = params.shape;
  const int64_t element_bytes = BytesOf(params.dtype, 1);
  for (int64_t r = 0; r < params.rows; ++r) {
    const int32_t position = params.positions[r];
    uint8_t* old_page = KvOwnPage(params.previous[params.table_of_row[r]], shape, position);
    uint8_t* new_page = KvOwnPage(params.current[params.table_of_row[r]], shape, position);
    double change = 0;
    double norm = 0;
    for (int32_t h = 0; h < shape.kv_heads; ++h) {
      const uint8_t* old_key = KvKey(old_page, shape, h, position, element_bytes);
      const uint8_t* new_key = KvKey(new_page, shape, h, position, element_bytes);
      for (int64_t offset : {int64_t{0}, shape.value_offset_bytes}) {
        for (int32_t i = 0; i < shape.head_dim; ++i) {
          const double before = LoadKv(old_key + offset, params.dtype, i);
          const double after = LoadKv(new_key + offset, params.dtype, i);
          change += (after - before) * (after - before);
          norm += after * after;
        }
      }
    }
    constexpr double kTiny = std::numeric_limits<float>::min();
    params.out[r] = static_cast<float>(std::sqrt(change) / std::max(std::sqrt(norm), kTiny));
  }
}

}  // namespace lckv::reference
