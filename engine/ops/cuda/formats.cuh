#pragma once

// Reading and writing values of a DType, one at a time, for device code; the byte layouts are
// those of engine/tensor/dtype.h and, for weights, weight_layout.h.

#include "engine/ops/cuda/device.cuh"
#include "engine/ops/cuda/gpu_api.h"
#include "engine/ops/cuda/weight_layout.h"
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

// weight[output][input]; block formats are d * q (+ m), each product and sum rounded.
LCKV_DEVICE inline float LoadTiledWeight(const Weight& weight, int64_t output, int32_t input) {
  const DType dtype = weight.dtype;
  const uint8_t* const tile =
      static_cast<const uint8_t*>(weight.data) + TileOffset(dtype, weight.row_bytes, output, input);
  const TilePlace place =
      PlaceInTile(dtype, static_cast<int32_t>(output % kTileOutputs), input % TileInputs(dtype));
  const uint8_t byte = tile[place.quant];
  const float scale = LoadHalf(tile + place.scale);
  if (dtype == DType::kQ8_0) {
    return device::Mul(scale, static_cast<float>(static_cast<int8_t>(byte)));
  }
  const int32_t q = byte >> 4 * place.high_half & 15;
  return device::Add(device::Mul(scale, static_cast<float>(q)), LoadHalf(tile + place.scale + 2));
}
LCKV_DEVICE inline float LoadWeight(const Weight& weight, int64_t output, int32_t input) {
  if (IsTiled(weight.dtype)) return LoadTiledWeight(weight, output, input);
  const uint8_t* const row = static_cast<const uint8_t*>(weight.data) + output * weight.row_bytes;
  if (weight.dtype == DType::kI8) {
    return device::Mul(weight.scales[output], static_cast<float>(static_cast<int8_t>(row[input])));
  }
  if (weight.dtype == DType::kFp8) {
    return device::Mul(weight.scales[output], device::E4m3ToF32(row[input]));
  }
  return LoadKv(row, weight.dtype, input);
}

}  // namespace lckv::gpu
