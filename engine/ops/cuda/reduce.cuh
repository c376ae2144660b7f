#pragma once

// Sums and maxima over a warp or a block in one fixed order: the bits depend on the values and
// their places only.

#include "engine/ops/cuda/device.cuh"

namespace lckv::gpu {

inline constexpr int32_t kWarp = 32;

// Every lane of the warp gets the result. All lanes must call.
LCKV_DEVICE inline float WarpSum(float value) {
  for (int32_t distance = kWarp / 2; distance > 0; distance /= 2) {
    value = device::Add(value, device::ShuffleXor(value, distance));
  }
  return value;
}
LCKV_DEVICE inline float WarpMax(float value) {
  for (int32_t distance = kWarp / 2; distance > 0; distance /= 2) {
    value = device::Max(value, device::ShuffleXor(value, distance));
  }
  return value;
}

// Every thread of the block gets the sum, or the largest. All threads must call; blockDim.x is a
// multiple of 32 and at most 1024. `partial` is shared memory for 32 floats that nobody else uses;
// the block is synchronised at the end.
template <typename Shared>
LCKV_DEVICE inline float BlockSum(float value, Shared& partial) {
  const float warp_sum = WarpSum(value);
  const int32_t warps = static_cast<int32_t>(blockDim.x) / kWarp;
  if (threadIdx.x % kWarp == 0) partial[threadIdx.x / kWarp] = warp_sum;
  __syncthreads();
  float sum = 0;
  for (int32_t w = 0; w < warps; ++w) sum = device::Add(sum, partial[w]);
  __syncthreads();
  return sum;
}
template <typename Shared>
LCKV_DEVICE inline float BlockMax(float value, Shared& partial) {
  const float warp_max = WarpMax(value);
  const int32_t warps = static_cast<int32_t>(blockDim.x) / kWarp;
  if (threadIdx.x % kWarp == 0) partial[threadIdx.x / kWarp] = warp_max;
  __syncthreads();
  float largest = partial[0];
  for (int32_t w = 1; w < warps; ++w) largest = device::Max(largest, partial[w]);
  __syncthreads();
  return largest;
}

}  // namespace lckv::gpu
