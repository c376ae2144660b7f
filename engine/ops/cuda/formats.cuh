#pragma once

// Reading and writing values of a DType, one at a time, for device code; the byte layouts are
// those of engine/tensor/dtype.h.

#include "engine/ops/cuda/device.cuh"
#include "engine/ops/cuda/gpu_api.h"
#include "engine/ops/op_params.h"
#include "engine/tensor/dtype_enum.h"

namespace lckv::gpu {

LCKV_DEVICE inline int32_t ElementBytes(DType dtype) { return dtype == DType::kF32 ? 4 : 2; }

LCKV_DEVICE inline float LoadHalf(const uint8_t* bytes) {
  return device::F16ToF32(*reinterpret_cast<const uint16_t*>(bytes));
}

// Value `index` of stored KV: f32, f16 or bf16.
LCKV_DEVICE inline float LoadKv(const uint8_t* values, DType dtype, int32_t index) {
  if (dtype == DType::kF32) return reinterpret_cast<const float*>(values)[index];
  const uint16_t bits = reinterpret_cast<const uint16_t*>(values)[index];
  return dtype == DType::kF16 ? device::F16ToF32(bits) : device::Bf16ToF32(bits);
}

// The inverse, rounding to nearest even.
LCKV_DEVICE inline void StoreKv(uint8_t* values, DType dtype, int32_t index, float value) {
  if (dtype == DType::kF32) {
    reinterpret_cast<float*>(values)[index] = value;
    return;
  }
  reinterpret_cast<uint16_t*>(values)[index] =
      dtype == DType::kF16 ? device::F32ToF16(value) : device::F32ToBf16(value);
}

// Value `index` of what a product will read.
LCKV_DEVICE inline void StoreActivation(const Activations& out, int64_t index, float value) {
  if (out.dtype == DType::kF32) {
    static_cast<float*>(out.data)[index] = value;
  } else {
    static_cast<uint16_t*>(out.data)[index] = device::F32ToBf16(value);
  }
}

// Value `index` of what a product reads.
LCKV_DEVICE inline float LoadActivation(const ConstActivations& x, int64_t index) {
  if (x.dtype == DType::kF32) return static_cast<const float*>(x.data)[index];
  return device::Bf16ToF32(static_cast<const uint16_t*>(x.data)[index]);
}

// Value `index` of a weight row, without the row's scale; block ones are d * q (+ m), each product
// and sum rounded.
LCKV_DEVICE inline float LoadStoredWeight(const uint8_t* row, DType dtype, int32_t index) {
  if (dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBf16) {
    return LoadKv(row, dtype, index);
  }
  if (dtype == DType::kI8) return static_cast<float>(static_cast<int8_t>(row[index]));
  if (dtype == DType::kFp8) return device::E4m3ToF32(row[index]);
  const int32_t in_block = index % kQuantBlock;
  if (dtype == DType::kQ8_0) {
    const uint8_t* block = row + static_cast<int64_t>(index / kQuantBlock) * 34;
    const auto q = static_cast<int8_t>(block[2 + in_block]);
    return device::Mul(LoadHalf(block), static_cast<float>(q));
  }
  const uint8_t* block = row + static_cast<int64_t>(index / kQuantBlock) * 20;
  const uint8_t byte = block[4 + in_block % (kQuantBlock / 2)];
  const int32_t q = in_block < kQuantBlock / 2 ? byte & 15 : byte >> 4;
  return device::Add(device::Mul(LoadHalf(block), static_cast<float>(q)), LoadHalf(block + 2));
}

// weight[row][index]
LCKV_DEVICE inline float LoadWeight(const Weight& weight, int64_t row, int32_t index) {
  const uint8_t* const data = static_cast<const uint8_t*>(weight.data) + row * weight.row_bytes;
  const float value = LoadStoredWeight(data, weight.dtype, index);
  return weight.scales == nullptr ? value : device::Mul(weight.scales[row], value);
}

}  // namespace lckv::gpu
