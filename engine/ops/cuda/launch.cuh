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

}  // namespace lckv::gpu
