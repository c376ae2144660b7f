#pragma once

// Starting a kernel `__global__ void Kernel(Args)`. Returns 0 or the launch's error code.

#include <cstddef>
#include <cstdint>

#include "engine/ops/cuda/device.cuh"
#include "engine/ops/cuda/kernels.h"

namespace lckv::gpu {

// Dynamic shared memory that a block has without asking.
inline constexpr size_t kSharedBytes = 48 * 1024;

struct Dim3 {
  unsigned x = 1;
  unsigned y = 1;
  unsigned z = 1;
};

#if defined(__CUDACC__)

template <typename Args>
int Launch(void (*kernel)(Args), Dim3 grid, Dim3 block, size_t shared_bytes, Stream stream,
           const Args& args) {
  if (shared_bytes > kSharedBytes) {  // more must be asked for
    const cudaError_t status = cudaFuncSetAttribute(
        kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared_bytes));
    if (status != cudaSuccess) return static_cast<int>(status);
  }
  kernel<<<dim3(grid.x, grid.y, grid.z), dim3(block.x, block.y, block.z), shared_bytes,
           static_cast<cudaStream_t>(stream)>>>(args);
  return static_cast<int>(cudaGetLastError());
}

#else

template <typename Args>
int Launch(void (*kernel)(Args), Dim3 grid, Dim3 block, size_t shared_bytes, Stream stream,
           const Args& args) {
  simt::LaunchShape shape;
  shape.grid = {grid.x, grid.y, grid.z};
  shape.block = {block.x, block.y, block.z};
  shape.dynamic_shared_bytes = shared_bytes;
  return simt::Enqueue(stream, [args, kernel, shape] {
    return simt::RunKernel(simt::NameOf<Args>(), shape, [&args, kernel] { kernel(args); });
  });
}

#endif

// Kernels in which one thread makes one value, bounded to kValueThreads a block: the number of the
// thread's value (there may be no such value), and the start for `count` of them. (A grid's first
// dimension has 2^31 - 1 blocks at most.)
inline constexpr int32_t kValueThreads = 256;

LCKV_DEVICE inline int64_t ValueIndex() {
  return static_cast<int64_t>(blockIdx.x) * kValueThreads + threadIdx.x;
}

template <typename Args>
int LaunchValues(void (*kernel)(Args), int64_t count, Stream stream, const Args& args) {
  const int64_t blocks = (count + kValueThreads - 1) / kValueThreads;
  return Launch(kernel, {static_cast<unsigned>(blocks)}, {kValueThreads}, 0, stream, args);
}

}  // namespace lckv::gpu
