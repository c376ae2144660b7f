#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

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

void StoreKv(const StoreKvParams& params) {
  const KvShape& shape = params.shape;
  const int64_t element_bytes = BytesOf(params.dtype, 1);
  for (int64_t r = 0; r < params.rows; ++r) {
    const KvTable& table = params.tables[params.table_of_row[r]];
    uint8_t* page = KvOwnPage(table, shape, params.positions[r]);
    for (int32_t h = 0; h < shape.kv_heads; ++h) {
      const int64_t row = (r * shape.kv_heads + h) * shape.head_dim;
      uint8_t* key = KvKey(page, shape, h, params.positions[r], element_bytes);
      QuantizeRow(params.k + row, shape.head_dim, params.dtype, key);
      QuantizeRow(params.v + row, shape.head_dim, params.dtype, key + shape.value_offset_bytes);
    }
  }
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
