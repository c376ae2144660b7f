#pragma once

// Reading and writing values of a Format, one at a time, for device code; the byte layouts are
// those of engine/tensor/dtype.h.

#include "engine/ops/cuda/device.cuh"
#include "engine/ops/cuda/gpu_api.h"

namespace lckv::gpu {

LCKV_DEVICE inline int32_t ElementBytes(Format format) { return format == Format::kF32 ? 4 : 2; }

LCKV_DEVICE inline float LoadHalf(const uint8_t* bytes) {
  return device::F16ToF32(*reinterpret_cast<const uint16_t*>(bytes));
}

// Value `index` of stored KV: f32, f16 or bf16.
LCKV_DEVICE inline float LoadKv(const uint8_t* values, Format format, int32_t index) {
  if (format == Format::kF32) return reinterpret_cast<const float*>(values)[index];
  const uint16_t bits = reinterpret_cast<const uint16_t*>(values)[index];
  return format == Format::kF16 ? device::F16ToF32(bits) : device::Bf16ToF32(bits);
}

// The inverse, rounding to nearest even.
LCKV_DEVICE inline void StoreKv(uint8_t* values, Format format, int32_t index, float value) {
  if (format == Format::kF32) {
    reinterpret_cast<float*>(values)[index] = value;
    return;
  }
  reinterpret_cast<uint16_t*>(values)[index] =
      format == Format::kF16 ? device::F32ToF16(value) : device::F32ToBf16(value);
}

// Value `index` of a weight row; quantised ones are d * q (+ m), each product and sum rounded.
LCKV_DEVICE inline float LoadWeight(const uint8_t* row, Format format, int32_t index) {
  if (format == Format::kF32 || format == Format::kF16 || format == Format::kBf16) {
    return LoadKv(row, format, index);
  }
  const int32_t in_block = index % 32;
  if (format == Format::kQ8_0) {
    const uint8_t* block = row + static_cast<int64_t>(index / 32) * 34;
    const auto q = static_cast<int8_t>(block[2 + in_block]);
    return device::Mul(LoadHalf(block), static_cast<float>(q));
  }
  const uint8_t* block = row + static_cast<int64_t>(index / 32) * 20;
  const uint8_t byte = block[4 + in_block % 16];
  const int32_t q = in_block < 16 ? byte & 15 : byte >> 4;
  return device::Add(device::Mul(LoadHalf(block), static_cast<float>(q)), LoadHalf(block + 2));
}

}  // namespace lckv::gpu
