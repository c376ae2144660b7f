#pragma once

#include <cstdint>

#include "engine/tensor/dtype.h"

namespace lckv {

// A weight matrix in host memory, usually inside a mapped file: [rows][cols] row-major, rows =
// output features, each row BytesOf(dtype, cols) bytes without padding. Not owning: whoever made it
// says how long `data` lives. `data` may be unaligned (safetensors and GGUF promise little).
struct HostMatrix {
  const void* data = nullptr;
  DType dtype = DType::kF32;
  int64_t rows = 0;
  int64_t cols = 0;
};

// out[cols] = row `row` of `matrix` as float32; for quantised formats d * q (+ m), each product and
// sum rounded.
void DequantizeRow(const HostMatrix& matrix, int64_t row, float* out);

// Writes `count` floats (a multiple of UnitOf(dtype)) as a row of `dtype` at `out`, rounding to
// nearest. kQ8_0, kI8: d = max|x| / 127. kFp8: d = max|x| / 448. kQ4_1: m = min, d = (max - min)
// / 15.
void QuantizeRow(const float* values, int64_t count, DType dtype, void* out);

}  // namespace lckv
