#pragma once

// Kernels that use all of engine/ops/cuda/{device,mma,launch}.cuh; test_kernels.cu compiles with
// nvcc too. Pointers are global memory.

#include <cstddef>
#include <cstdint>

namespace lckv::gpu {

// out[block] = sum of in[block * count …]; any count, 128 threads.
struct SumArgs {
  const float* in;
  float* out;
  int32_t count;
};
int LaunchSum(const SumArgs& args, unsigned blocks);

// One warp; every field has a value for each lane.
struct WarpResults {
  uint32_t exchanged[32];  // ShuffleXor by 5
  int32_t below[32];       // ShuffleDown by 3
  float reversed[32];      // Shuffle from lane 31 - l
  uint32_t half[32];       // ShuffleXor by 1, lower and upper half of the warp on their own
  uint32_t ballot[32];     // lanes divisible by 3
  uint32_t half_ballot[32];
  int32_t any[32], none[32], all[32], not_all[32];
};
struct WarpArgs {
  WarpResults* results;
};
int LaunchWarp(const WarpArgs& args);

// Every thread of every block adds 1 (floats: 0.5) and takes part in a maximum and a chain of
// swaps.
struct AtomicResults {
  int32_t count;
  uint32_t unsigned_count;
  uint64_t long_count;
  float halves;
  int32_t largest;
  uint32_t unsigned_largest;
  uint64_t long_largest;
  uint32_t swaps;        // grown by 1 by a loop of CompareAndSwap
  int32_t shared_count;  // sum over blocks of a count kept in shared memory
};
struct AtomicArgs {
  AtomicResults* results;
};
int LaunchAtomic(const AtomicArgs& args, unsigned blocks, unsigned threads);

// Copies `count` vectors of 16 bytes in tiles of 64 through two buffers in shared memory; those
// from `valid` on become zeros. `wait`: false leaves out the last wait, an error.
struct PipelineArgs {
  const uint8_t* in;
  uint8_t* out;
  int32_t count;
  int32_t valid;
  int32_t wait;
};
int LaunchPipeline(const PipelineArgs& args);

// c [16][8] = a [16][16] * b [16][8] + c, all row-major, a and b bf16; with `stored_by_column` b is
// [8][16]. One warp.
struct ProductArgs {
  const uint16_t* a;
  const uint16_t* b;
  float* c;
  int32_t stored_by_column;
};
int LaunchProduct(const ProductArgs& args);

// Shared memory between the lanes of a warp, kept apart by __syncwarp() (`synchronise`) or not.
struct RotateArgs {
  int32_t* out;
  int32_t synchronise;
};
int LaunchRotate(const RotateArgs& args, unsigned threads);

// out[i] = f(in[i]) for the named functions of device.cuh; one thread a value.
struct MathArgs {
  const float* in;
  float* rsqrt;
  float* sqrt;
  float* exp;
  float* log;
  float* floor;
  float* exp2;
  uint32_t* bf16;  // x in the low, -x in the high half
  int32_t count;
};
int LaunchMath(const MathArgs& args);

}  // namespace lckv::gpu
