#pragma once

// Sums and maxima over a warp or a block in one fixed order: the bits depend on the values and
// their places only.

#include "engine/ops/cuda/device.cuh"

namespace lckv::gpu {

inline constexpr int32_t kWarp = 32;

struct Sum {
  LCKV_DEVICE static float Of(float a, float b) { return device::Add(a, b); }
};
struct Largest {
  LCKV_DEVICE static float Of(float a, float b) { return device::Max(a, b); }
};

// Every lane of the warp gets the result. All lanes must call.
template <class Operation>
LCKV_DEVICE inline float WarpReduce(float value) {
  for (int32_t distance = kWarp / 2; distance > 0; distance /= 2) {
    value = Operation::Of(value, device::ShuffleXor(value, distance));
  }
  return value;
}
LCKV_DEVICE inline float WarpSum(float value) { return WarpReduce<Sum>(value); }
LCKV_DEVICE inline float WarpMax(float value) { return WarpReduce<Largest>(value); }

// Every thread of the block gets the result. All threads must call; blockDim.x is a multiple of 32
// and at most 1024. `partial` is shared memory for 32 floats that nobody else uses; the block is
// synchronised at the end.
template <class Operation, typename Shared>
LCKV_DEVICE inline float BlockReduce(float value, Shared& partial) {
  const float of_warp = WarpReduce<Operation>(value);
  const int32_t warps = static_cast<int32_t>(blockDim.x) / kWarp;
  if (threadIdx.x % kWarp == 0) partial[threadIdx.x / kWarp] = of_warp;
  __syncthreads();
  float of_block = partial[0];
  for (int32_t w = 1; w < warps; ++w) of_block = Operation::Of(of_block, partial[w]);
  __syncthreads();
  return of_block;
}
template <typename Shared>
LCKV_DEVICE inline float BlockSum(float value, Shared& partial) {
  return BlockReduce<Sum>(value, partial);
}
template <typename Shared>
LCKV_DEVICE inline float BlockMax(float value, Shared& partial) {
  return BlockReduce<Largest>(value, partial);
}

}  // namespace lckv::gpu
