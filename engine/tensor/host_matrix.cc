#include "engine/tensor/host_matrix.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/check.h"

namespace lckv {
namespace {

uint16_t LoadU16(const uint8_t* p) {
  uint16_t value;
  std::memcpy(&value, p, sizeof(value));
  return value;
}

void StoreU16(uint8_t* p, uint16_t value) { std::memcpy(p, &value, sizeof(value)); }

void DequantizeQ8_0(const uint8_t* in, int64_t count, float* out) {
  for (int64_t block = 0; block < count; block += kQuantBlock, in += 34) {
    const float d = F16ToF32(LoadU16(in));
    for (int i = 0; i < kQuantBlock; ++i) {
      out[block + i] = d * static_cast<float>(static_cast<int8_t>(in[2 + i]));
    }
  }
}

void DequantizeQ4_1(const uint8_t* in, int64_t count, float* out) {
  for (int64_t block = 0; block < count; block += kQuantBlock, in += 20) {
    const float d = F16ToF32(LoadU16(in));
    const float m = F16ToF32(LoadU16(in + 2));
    for (int i = 0; i < kQuantBlock / 2; ++i) {
      out[block + i] = d * static_cast<float>(in[4 + i] & 0xF) + m;
      out[block + i + 16] = d * static_cast<float>(in[4 + i] >> 4) + m;
    }
  }
}

void QuantizeQ8_0(const float* values, int64_t count, uint8_t* out) {
  for (int64_t block = 0; block < count; block += kQuantBlock, out += 34) {
    float largest = 0;
    for (int i = 0; i < kQuantBlock; ++i) largest = std::max(largest, std::abs(values[block + i]));
    const uint16_t scale = F32ToF16(largest / 127.0f);
    const float d = F16ToF32(scale);
    const float inverse = d != 0 ? 1.0f / d : 0.0f;
    StoreU16(out, scale);
    for (int i = 0; i < kQuantBlock; ++i) {
      const float q = std::nearbyint(values[block + i] * inverse);
      out[2 + i] = static_cast<uint8_t>(static_cast<int8_t>(std::clamp(q, -127.0f, 127.0f)));
    }
  }
}

void QuantizeQ4_1(const float* values, int64_t count, uint8_t* out) {
  for (int64_t block = 0; block < count; block += kQuantBlock, out += 20) {
    const auto [low, high] = std::minmax_element(values + block, values + block + kQuantBlock);
    const uint16_t scale = F32ToF16((*high - *low) / 15.0f);
    const uint16_t minimum = F32ToF16(*low);
    const float d = F16ToF32(scale);
    const float m = F16ToF32(minimum);
    const float inverse = d != 0 ? 1.0f / d : 0.0f;
    StoreU16(out, scale);
    StoreU16(out + 2, minimum);
    const auto quantize = [&](float value) {
      return static_cast<uint8_t>(std::clamp(std::nearbyint((value - m) * inverse), 0.0f, 15.0f));
    };
    for (int i = 0; i < kQuantBlock / 2; ++i) {
      const uint8_t lower = quantize(values[block + i]);
      const uint8_t upper = quantize(values[block + i + 16]);
      out[4 + i] = static_cast<uint8_t>(lower | (upper << 4));
    }
  }
}

// q in [-127, 127], or E4M3.
void QuantizeByRow(const float* values, int64_t count, DType dtype, uint8_t* out) {
  const bool fp8 = dtype == DType::kFp8;
  float largest = 0;
  for (int64_t i = 0; i < count; ++i) largest = std::max(largest, std::abs(values[i]));
  const float d = largest / (fp8 ? 448.0f : 127.0f);
  std::memcpy(out, &d, kRowScaleBytes);
  for (int64_t i = 0; i < count; ++i) {
    const float q = d > 0 ? values[i] / d : 0.0f;
    out[kRowScaleBytes + i] = fp8 ? F32ToE4m3(q)
                                  : static_cast<uint8_t>(static_cast<int8_t>(
                                        std::clamp(std::nearbyint(q), -127.0f, 127.0f)));
  }
}

void DequantizeByRow(const uint8_t* in, int64_t count, DType dtype, float* out) {
  float d;
  std::memcpy(&d, in, kRowScaleBytes);
  for (int64_t i = 0; i < count; ++i) {
    const uint8_t q = in[kRowScaleBytes + i];
    out[i] = d * (dtype == DType::kFp8 ? E4m3ToF32(q) : static_cast<float>(static_cast<int8_t>(q)));
  }
}

}  // namespace

void DequantizeRow(const HostMatrix& matrix, int64_t row, float* out) {
  LCKV_CHECK(row >= 0 && row < matrix.rows);
  const auto* in =
      static_cast<const uint8_t*>(matrix.data) + row * BytesOf(matrix.dtype, matrix.cols);
  switch (matrix.dtype) {
    case DType::kF32:
      std::memcpy(out, in, static_cast<size_t>(matrix.cols) * sizeof(float));
      return;
    case DType::kF16:
      for (int64_t i = 0; i < matrix.cols; ++i) out[i] = F16ToF32(LoadU16(in + 2 * i));
      return;
    case DType::kBf16:
      for (int64_t i = 0; i < matrix.cols; ++i) out[i] = Bf16ToF32(LoadU16(in + 2 * i));
      return;
    case DType::kQ8_0:
      DequantizeQ8_0(in, matrix.cols, out);
      return;
    case DType::kQ4_1:
      DequantizeQ4_1(in, matrix.cols, out);
      return;
    case DType::kI8:
    case DType::kFp8:
      DequantizeByRow(in, matrix.cols, matrix.dtype, out);
      return;
  }
}

void QuantizeRow(const float* values, int64_t count, DType dtype, void* out) {
  auto* bytes = static_cast<uint8_t*>(out);
  switch (dtype) {
    case DType::kF32:
      std::memcpy(bytes, values, static_cast<size_t>(count) * sizeof(float));
      return;
    case DType::kF16:
      for (int64_t i = 0; i < count; ++i) StoreU16(bytes + 2 * i, F32ToF16(values[i]));
      return;
    case DType::kBf16:
      for (int64_t i = 0; i < count; ++i) StoreU16(bytes + 2 * i, F32ToBf16(values[i]));
      return;
    case DType::kQ8_0:
      LCKV_CHECK(count % kQuantBlock == 0);
      QuantizeQ8_0(values, count, bytes);
      return;
    case DType::kQ4_1:
      LCKV_CHECK(count % kQuantBlock == 0);
      QuantizeQ4_1(values, count, bytes);
      return;
    case DType::kI8:
    case DType::kFp8:
      QuantizeByRow(values, count, dtype, bytes);
      return;
  }
}

}  // namespace lckv
