#include "engine/ops/cuda/launch.cuh"
#include "engine/ops/cuda/mma.cuh"
#include "engine/ops/cuda/reduce.cuh"
#include "tests/simt/test_kernels.h"

namespace lckv::gpu {
namespace {

constexpr int32_t kSumThreads = 128;

__global__ void SumKernel(SumArgs args) {
  LCKV_SHARED(float, partial, 32);
  float sum = 0;
  for (auto i = static_cast<int32_t>(threadIdx.x); i < args.count; i += kSumThreads) {
    sum = device::Add(sum, args.in[static_cast<int64_t>(blockIdx.x) * args.count + i]);
  }
  sum = BlockSum(sum, partial);
  if (threadIdx.x == 0) args.out[blockIdx.x] = sum;
}

__global__ void WarpKernel(WarpArgs args) {
  const auto lane = static_cast<int32_t>(threadIdx.x);
  const uint32_t half = lane < 16 ? 0x0000ffffu : 0xffff0000u;
  WarpResults& results = *args.results;
  results.exchanged[lane] = device::ShuffleXor(threadIdx.x * 10, 5);
  results.below[lane] = device::ShuffleDown(-lane, 3);
  results.reversed[lane] = device::Shuffle(static_cast<float>(lane) + 0.5f, 31 - lane);
  if (lane < 16) {  // the halves take different ways and do not wait for one another
    results.half[lane] = device::ShuffleXor(threadIdx.x, 1, half);
    results.half_ballot[lane] = device::Ballot(lane % 2 == 0, half);
  } else {
    results.half_ballot[lane] = device::Ballot(lane % 2 == 1, half);
    results.half[lane] = device::ShuffleXor(threadIdx.x, 1, half);
  }
  results.ballot[lane] = device::Ballot(lane % 3 == 0);
  results.any[lane] = device::Any(lane == 7) ? 1 : 0;
  results.none[lane] = device::Any(false) ? 1 : 0;
  results.all[lane] = device::All(lane < 32) ? 1 : 0;
  results.not_all[lane] = device::All(lane != 7) ? 1 : 0;
}

__global__ void AtomicKernel(AtomicArgs args) {
  LCKV_SHARED(int32_t, count, 1);
  AtomicResults& results = *args.results;
  const uint32_t thread = blockIdx.x * blockDim.x + threadIdx.x;
  if (threadIdx.x == 0) count[0] = 0;
  __syncthreads();
  device::AtomicAdd(&results.count, 1);
  device::AtomicAdd(&results.unsigned_count, 1u);
  device::AtomicAdd(&results.long_count, uint64_t{1} << 32);
  device::AtomicAdd(&results.halves, 0.5f);
  device::AtomicMax(&results.largest, static_cast<int32_t>(thread) - 1000000);
  device::AtomicMax(&results.unsigned_largest, thread);
  device::AtomicMax(&results.long_largest, uint64_t{thread} << 32);
  device::AtomicAdd(count + 0, 1);
  uint32_t seen = 0;
  while (true) {
    const uint32_t before = device::CompareAndSwap(&results.swaps, seen, seen + 1);
    if (before == seen) break;
    seen = before;
  }
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) device::AtomicAdd(&results.shared_count, count[0]);
}

constexpr int32_t kTile = 64;  // vectors of a tile, one a thread

__global__ void PipelineKernel(PipelineArgs args) {
  LCKV_DYNAMIC_SHARED(uint8_t, tiles);
  const auto thread = static_cast<int32_t>(threadIdx.x);
  const int32_t tiles_in_all = (args.count + kTile - 1) / kTile;
  const auto fetch = [&](int32_t tile) {
    const int32_t vector = tile * kTile + thread;
    if (vector < args.count) {
      const bool valid = vector < args.valid;
      device::CopyAsync16(tiles + (tile % 2 * kTile + thread) * 16,
                          args.in + (valid ? vector * 16 : 0), valid);
    }
    device::CopyAsyncCommit();
  };
  fetch(0);
  for (int32_t tile = 0; tile < tiles_in_all; ++tile) {
    fetch(tile + 1);
    if (args.wait != 0 || tile + 1 < tiles_in_all) device::CopyAsyncWait<1>();
    __syncthreads();
    // Another thread's vector than the one that this thread copied.
    const int32_t other = kTile - 1 - thread;
    if (tile * kTile + other < args.count) {
      device::Store16(args.out + (tile * kTile + other) * 16,
                      device::Load16(tiles + (tile % 2 * kTile + other) * 16));
    }
    __syncthreads();
  }
}

__global__ void ProductKernel(ProductArgs args) {
  LCKV_SHARED(uint16_t, a_tile, 16 * 16);
  LCKV_SHARED(uint16_t, b_tile, 16 * 8);
  const auto lane = static_cast<int32_t>(threadIdx.x);
  device::Store16(a_tile + lane * 8, device::Load16(args.a + lane * 8));
  if (lane < 16) device::Store16(b_tile + lane * 8, device::Load16(args.b + lane * 8));
  __syncwarp();
  const int32_t matrix = lane / 8;
  const int32_t row = lane % 8;
  uint32_t a[4];
  device::LoadMatrices(a, a_tile + (matrix % 2 * 8 + row) * 16 + matrix / 2 * 8);
  // Four matrices are loaded, two of them twice.
  uint32_t b[4];
  if (args.stored_by_column != 0) {
    device::LoadMatrices(b, b_tile + row * 16 + matrix % 2 * 8);
  } else {
    device::LoadMatricesTransposed(b, b_tile + (matrix % 2 * 8 + row) * 8);
  }
  const uint32_t b_pair[2] = {b[0], b[1]};
  const int32_t g = lane / 4;
  const int32_t t = lane % 4 * 2;
  float sums[4] = {args.c[g * 8 + t], args.c[g * 8 + t + 1], args.c[(g + 8) * 8 + t],
                   args.c[(g + 8) * 8 + t + 1]};
  device::MultiplyBf16(sums, a, b_pair);
  args.c[g * 8 + t] = sums[0];
  args.c[g * 8 + t + 1] = sums[1];
  args.c[(g + 8) * 8 + t] = sums[2];
  args.c[(g + 8) * 8 + t + 1] = sums[3];
}

__global__ void RotateKernel(RotateArgs args) {
  LCKV_DYNAMIC_SHARED(unsigned char, bytes);
  const auto values = device::SharedAs<int32_t>(bytes + 0);
  const auto thread = static_cast<int32_t>(threadIdx.x);
  const int32_t first = thread / 32 * 32;
  int32_t value = thread;
  for (int32_t step = 0; step < 3; ++step) {
    values[thread] = value;
    if (args.synchronise != 0) __syncwarp();
    value = values[first + (thread + 1) % 32];
    if (args.synchronise != 0) __syncwarp();
  }
  args.out[thread] = value;
}

__global__ void MathKernel(MathArgs args) {
  const auto i = static_cast<int32_t>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i >= args.count) return;
  const float x = args.in[i];
  args.rsqrt[i] = device::Rsqrt(x);
  args.sqrt[i] = device::Sqrt(device::Max(device::Min(x, 1e30f), 0.0f));
  args.exp[i] = device::Exp(device::Min(x, 80.0f));
  args.log[i] = device::Log(device::Abs(x));
  args.floor[i] = device::Floor(x);
  args.exp2[i] = device::Exp2(device::Min(x, 100.0f));
  args.bf16[i] = device::PackBf16(x, -x);
}

}  // namespace

int LaunchSum(const SumArgs& args, unsigned blocks) {
  return Launch(SumKernel, {blocks}, {kSumThreads}, 0, nullptr, args);
}
int LaunchWarp(const WarpArgs& args) { return Launch(WarpKernel, {1}, {32}, 0, nullptr, args); }
int LaunchAtomic(const AtomicArgs& args, unsigned blocks, unsigned threads) {
  return Launch(AtomicKernel, {blocks}, {threads}, 0, nullptr, args);
}
int LaunchPipeline(const PipelineArgs& args) {
  return Launch(PipelineKernel, {1}, {kTile}, 2 * kTile * 16, nullptr, args);
}
int LaunchProduct(const ProductArgs& args) {
  return Launch(ProductKernel, {1}, {32}, 0, nullptr, args);
}
int LaunchRotate(const RotateArgs& args, unsigned threads) {
  return Launch(RotateKernel, {1}, {threads}, threads * sizeof(int32_t), nullptr, args);
}
int LaunchMath(const MathArgs& args) {
  return Launch(MathKernel, {static_cast<unsigned>(args.count + 127) / 128}, {128}, 0, nullptr,
                args);
}

}  // namespace lckv::gpu
