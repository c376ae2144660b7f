// One block a row: the sum of squares in a fixed order, then the scaled row.

#include "engine/ops/cuda/formats.cuh"
#include "engine/ops/cuda/kernels.h"
#include "engine/ops/cuda/launch.cuh"
#include "engine/ops/cuda/reduce.cuh"

namespace lckv::gpu {
namespace {

constexpr int32_t kThreads = 128;

__global__ void __launch_bounds__(kThreads) RmsNormKernel(RmsNormParams args) {
  LCKV_SHARED(float, partial, 32);
  const int64_t offset = static_cast<int64_t>(blockIdx.x) * args.size;
  const auto thread = static_cast<int32_t>(threadIdx.x);
  float squares = 0;
  for (int32_t i = thread; i < args.size; i += kThreads) {
    const float x = args.x[offset + i];
    squares = device::Fma(x, x, squares);
  }
  const float sum = BlockSum(squares, partial);
  const float mean = device::Div(sum, static_cast<float>(args.size));
  const float scale = device::Div(1.0f, device::Sqrt(device::Add(mean, args.eps)));
  for (int32_t i = thread; i < args.size; i += kThreads) {
    StoreActivation(args.out, offset + i,
                    device::Mul(device::Mul(args.x[offset + i], scale), args.weight[i]));
  }
}

}  // namespace

int LaunchRmsNorm(const RmsNormParams& args, Stream stream) {
  return Launch(RmsNormKernel, {static_cast<unsigned>(args.rows)}, {kThreads}, 0, stream, args);
}

}  // namespace lckv::gpu
