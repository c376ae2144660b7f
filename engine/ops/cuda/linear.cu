// Matrix product in float32 with the weight restored on the way: the exact path (conformance, --kv
// f32) and the one for quantised formats. Every output is one chain of fused multiply-adds over k
// in ascending order, whatever the batch.

#include "engine/ops/cuda/formats.cuh"
#include "engine/ops/cuda/kernels.h"
#include "engine/ops/cuda/launch.cuh"

namespace lckv::gpu {
namespace {

constexpr int32_t kTileOut = 64;   // output features of a block
constexpr int32_t kTileRows = 16;  // rows of a block
constexpr int32_t kTileK = 32;     // a quantisation block
constexpr int32_t kThreads = 256;  // 16 x 16; thread (o, r) makes outputs o, o + 16, … of row r
constexpr int32_t kOutputs = kTileOut / 16;
constexpr int32_t kPitch = kTileK + 1;  // so that neighbouring outputs lie in different banks

// Block (tile of outputs, tile of rows).
__global__ void __launch_bounds__(kThreads) LinearKernel(LinearArgs args) {
  LCKV_SHARED(float, weights, kTileOut* kPitch);
  LCKV_SHARED(float, inputs, kTileRows* kPitch);
  const Weight& weight = args.weight;
  const auto thread = static_cast<int32_t>(threadIdx.x);
  const int32_t first_out = static_cast<int32_t>(blockIdx.x) * kTileOut;
  const int32_t first_row = static_cast<int32_t>(blockIdx.y) * kTileRows;
  const int32_t out_in_tile = thread % 16;
  const int32_t row_in_tile = thread / 16;

  float sums[kOutputs] = {};
  for (int32_t first_k = 0; first_k < weight.in_features; first_k += kTileK) {
    const int32_t count = min(kTileK, weight.in_features - first_k);
    for (int32_t i = thread; i < kTileOut * kTileK; i += kThreads) {
      const int32_t out = first_out + i / kTileK;
      const int32_t k = i % kTileK;
      if (out >= weight.out_features || k >= count) continue;
      weights[i / kTileK * kPitch + k] = LoadWeight(weight, out, first_k + k);
    }
    for (int32_t i = thread; i < kTileRows * kTileK; i += kThreads) {
      const int32_t row = first_row + i / kTileK;
      const int32_t k = i % kTileK;
      if (row >= args.rows || k >= count) continue;
      inputs[i / kTileK * kPitch + k] =
          LoadActivation(args.x, static_cast<int64_t>(row) * weight.in_features + first_k + k);
    }
    __syncthreads();
    if (first_row + row_in_tile < args.rows) {
      for (int32_t k = 0; k < count; ++k) {
        const float x = inputs[row_in_tile * kPitch + k];
        for (int32_t n = 0; n < kOutputs; ++n) {
          if (first_out + out_in_tile + 16 * n >= weight.out_features) break;
          sums[n] = device::Fma(weights[(out_in_tile + 16 * n) * kPitch + k], x, sums[n]);
        }
      }
    }
    __syncthreads();
  }

  if (first_row + row_in_tile >= args.rows) return;
  float* out = args.out + static_cast<int64_t>(first_row + row_in_tile) * weight.out_features;
  for (int32_t n = 0; n < kOutputs; ++n) {
    const int32_t o = first_out + out_in_tile + 16 * n;
    if (o >= weight.out_features) break;
    float sum = sums[n];
    if (args.bias != nullptr) sum = device::Add(sum, args.bias[o]);
    out[o] = args.accumulate ? device::Add(out[o], sum) : sum;
  }
}

}  // namespace

int LaunchLinear(const LinearArgs& args, Stream stream) {
  const Dim3 grid = {static_cast<unsigned>((args.weight.out_features + kTileOut - 1) / kTileOut),
                     static_cast<unsigned>((args.rows + kTileRows - 1) / kTileRows)};
  return Launch(LinearKernel, grid, {kThreads}, 0, stream, args);
}

}  // namespace lckv::gpu
