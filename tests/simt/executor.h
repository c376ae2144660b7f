#pragma once

// A GPU of one thread: runs the kernels of engine/ops/cuda on the CPU, for tests. Blocks run one
// after another, the threads of a block as fibers, both in an order shuffled by a seed
// (LCKV_SIMT_SEED; default 1) that changes at every barrier: what a missing barrier spoils, spoils
// here. Shared memory is checked: an index outside, and an access that no barrier separates from
// another thread's write (or a write from another thread's read), end the launch with an error that
// names kernel, block and thread. So do barriers that some threads never reach. Global memory is
// host memory: ASan watches it.
//
// Semantics followed: CUDA C++ Programming Guide, "Synchronization Functions" and "Warp Shuffle
// Functions" (compute capability 7.0 and later).

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

namespace lckv::simt {

struct Index3 {
  unsigned x = 1;
  unsigned y = 1;
  unsigned z = 1;
};

struct LaunchShape {
  Index3 grid;
  Index3 block;  // at most 1024 threads
  size_t dynamic_shared_bytes = 0;
};

inline constexpr int kWarpSize = 32;
inline constexpr int kSuccess = 0;
inline constexpr int kError = 1;

// Runs `body` once for every thread of the launch. kSuccess, or kError with the reason in
// LastError(); an earlier error stays and makes every later launch fail, as on a device. From one
// thread at a time.
int RunKernel(const std::string& kernel, const LaunchShape& shape,
              const std::function<void()>& body);

// The first error since ClearError(); empty: none.
const std::string& LastError();
void ClearError();
// Overrides LCKV_SIMT_SEED from now on.
void SetSeed(uint64_t seed);

// What a running thread sees of itself and does; for device_emulation.h.
struct ThreadView {
  Index3 thread_idx, block_idx, block_dim, grid_dim;
};
const ThreadView& Self();
void SyncThreads();
// The value that lane `lane ^ distance` of the warp passed. All lanes of the warp must call.
uint32_t ShuffleXorBits(uint32_t value, int distance);

// One block's shared array under construction tag `tag` (its address names it; null: the dynamic
// one). `bytes` is ignored for the dynamic one.
struct SharedArea {
  unsigned char* data = nullptr;
  size_t bytes = 0;
  void* cells = nullptr;  // executor.cc's record of accesses, one for every 4 bytes
};
SharedArea SharedMemory(const void* tag, size_t bytes);
// Called before each access to bytes [offset, offset + size) of `area`. Does not return if the
// access is wrong.
void CheckAccess(const SharedArea& area, size_t offset, size_t size, bool write);

}  // namespace lckv::simt
