#pragma once

// A GPU of one thread: runs the kernels of engine/ops/cuda on the CPU, for tests. Blocks run one
// after another, the threads of a block as fibers, both in an order shuffled by a seed
// (LCKV_SIMT_SEED; default 1) that changes wherever threads wait for one another: what a missing
// barrier spoils, spoils here. Shared memory is checked: an index outside, and an access that no
// barrier separates from another thread's write (or a write from another thread's read), end the
// launch with an error that names kernel, block and thread. So do barriers and warp operations that
// some threads never reach, and asynchronous copies that are used before they were waited for.
// Global memory is host memory: ASan watches it.
//
// Semantics followed: CUDA C++ Programming Guide, "Synchronization Functions", "Warp Vote
// Functions" and "Warp Shuffle Functions" (compute capability 7.0 and later), where they leave
// something undefined, an error. __syncwarp() orders memory among the lanes of a warp if it names
// all of them; shuffles and votes order nothing.

#include <array>
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
// The most that a block of compute capability 9.0 can have.
inline constexpr size_t kMaxDynamicSharedBytes = size_t{227} << 10;

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

// What follows is what a running thread sees and does; for device_emulation.h.

struct ThreadView {
  Index3 thread_idx, block_idx, block_dim, grid_dim;
  int lane = 0;  // the thread's number in its warp
};
extern const ThreadView* running_thread;
inline const ThreadView& Self() { return *running_thread; }

inline int Lane() { return running_thread->lane; }

// Ends the launch with an error that names the thread: "… `what`". Does not return.
[[noreturn]] void Fail(const std::string& what);

// `line` tells barriers apart: all threads of a block must be at the same one.
void SyncThreads(int line);
// Another thread may run now.
void MaybeSwitch();

// An operation of the lanes of `lanes`: each must come to one with the same name, lanes and detail.
struct WarpOperation {
  const char* name = "";  // a literal
  uint32_t lanes = 0;
  int32_t detail = 0;
};
using LaneWords = std::array<uint32_t, 8>;
// What every lane in `lanes` passed (`num_words` at `mine`, at most a LaneWords), by lane number;
// valid until the thread's next operation.
const LaneWords* Exchange(const WarpOperation& operation, const uint32_t* mine, size_t num_words);
void SyncWarp(uint32_t lanes);

// The value that lane `lane ^ distance` of the warp passed. All lanes of the warp must call.
uint32_t ShuffleXorBits(uint32_t value, int distance);

// One shared array of the running block.
struct SharedArea {
  unsigned char* data = nullptr;
  size_t bytes = 0;
  void* cells = nullptr;    // shared_memory.cc's record of accesses, one for every unit
  unsigned unit_shift = 2;  // a unit has 1 << unit_shift bytes
};
// `tag`: its address names the array; null is the dynamic one, whose size the launch gave. The
// record of accesses has a unit of `unit_bytes` (1, 2, 4): nobody may use fewer bytes at once.
const SharedArea& SharedMemory(const void* tag, size_t bytes, size_t unit_bytes);

enum class Access { kRead, kWrite, kAtomic };
// Called before each access to bytes [offset, offset + size) of `area`. Does not return if the
// access is wrong.
void CheckAccess(const SharedArea& area, size_t offset, size_t size, Access access);

// 16 bytes (zeros if not `valid`) to `area`, which get there in the CopyAsyncWait that covers them.
void CopyAsync(const SharedArea& area, size_t offset, const void* from, bool valid);
void CopyAsyncCommit();
void CopyAsyncWait(uint32_t groups_under_way);

}  // namespace lckv::simt
