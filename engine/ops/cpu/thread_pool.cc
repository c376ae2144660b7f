#include "engine/ops/cpu/thread_pool.h"

#include <pthread.h>

#include <algorithm>
#include <string>
#include <system_error>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace lckv::cpu {
namespace {

// 10 to 30 us, depending on the processor's pause: longer than the gaps inside a step, shorter than
// anything that a neighbour on the same core would notice.
constexpr int kSpinCount = 1000;

// A claim and its cache misses cost about 0.1 us; this much work takes 1 to 2 us.
constexpr int64_t kMinChunkWork = 16 * 1024;

// More chunks than threads, so that a thread that comes late or is slow leaves its share to the
// others.
constexpr int kChunksPerThread = 8;

uint32_t LowHalf(uint64_t state) { return static_cast<uint32_t>(state); }

void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

}  // namespace

ThreadPool::ThreadPool(int num_threads)
    : num_threads_(num_threads),
      // With more threads than cores a spinning thread holds back the one it waits for.
      spin_count_(num_threads <= static_cast<int>(std::thread::hardware_concurrency()) ? kSpinCount
                                                                                       : 0) {}

absl::StatusOr<std::unique_ptr<ThreadPool>> ThreadPool::Create(int num_threads) {
  if (num_threads < 1 || num_threads > kMaxThreads) {
    return absl::InvalidArgumentError(
        absl::StrCat("number of threads ", num_threads, " outside [1, ", kMaxThreads, "]"));
  }
  auto pool = absl::WrapUnique(new ThreadPool(num_threads));
  try {
    for (int i = 1; i < num_threads; ++i) {
      pool->threads_.emplace_back([pool = pool.get(), i] { pool->WorkerLoop(i); });
      (void)pthread_setname_np(pool->threads_.back().native_handle(),
                               absl::StrCat("lckv-ops-", i).c_str());
    }
  } catch (const std::system_error& error) {
    return absl::ResourceExhaustedError(absl::StrCat("cannot start a thread: ", error.what()));
  }
  return pool;
}

ThreadPool::~ThreadPool() {
  {
    MutexLock lock(mu_);
    stop_ = true;
    work_available_.NotifyAll();
  }
  for (std::thread& thread : threads_) thread.join();
}

void ThreadPool::Run(int chunks, Body body) {
  LCKV_DCHECK(chunks >= 0);
  if (num_threads_ == 1 || chunks <= 1) {
    for (int chunk = 0; chunk < chunks; ++chunk) body(chunk, 0);
    return;
  }
  body_ = &body;
  unfinished_.store(chunks, std::memory_order_relaxed);
  const uint64_t region = (unclaimed_.load(std::memory_order_relaxed) >> 32) + 1;
  // Sequentially consistent, as is num_asleep_: either we see a sleeper here or it sees the chunks
  // before it sleeps.
  unclaimed_.store(region << 32 | static_cast<uint32_t>(chunks));
  if (num_asleep_.load() > 0) {
    MutexLock lock(mu_);
    work_available_.NotifyAll();
  }
  RunChunks(0);
  WaitUntilDone();
}

void ThreadPool::ParallelFor(int64_t items, int64_t work_per_item, RangeBody body) {
  if (items <= 0) return;
  const int64_t most = std::min<int64_t>(items, int64_t{kChunksPerThread} * num_threads_);
  const int64_t chunks = std::clamp<int64_t>(items * work_per_item / kMinChunkWork, 1, most);
  if (chunks == 1 || num_threads_ == 1) {
    body(0, items, 0);
    return;
  }
  Run(static_cast<int>(chunks), [&](int chunk, int thread) {
    body(items * chunk / chunks, items * (chunk + 1) / chunks, thread);
  });
}

void ThreadPool::WorkerLoop(int thread) {
  while (!stop_) {
    if (SpinForWork()) {
      RunChunks(thread);
    } else {
      SleepUntilWork();
    }
  }
}

void ThreadPool::RunChunks(int thread) {
  uint64_t state = unclaimed_.load(std::memory_order_relaxed);
  while (LowHalf(state) != 0) {
    if (!unclaimed_.compare_exchange_weak(state, state - 1, std::memory_order_acq_rel,
                                          std::memory_order_relaxed)) {
      continue;
    }
    // The claimed chunk keeps the region open until it is counted as finished: body_ stays.
    (*body_)(static_cast<int>(LowHalf(state)) - 1, thread);
    if (unfinished_.fetch_sub(1) == 1 && caller_asleep_.load()) {
      MutexLock lock(mu_);
      region_done_.NotifyOne();
    }
    state = unclaimed_.load(std::memory_order_relaxed);
  }
}

bool ThreadPool::SpinForWork() const {
  for (int i = 0; i <= spin_count_; ++i) {
    if (LowHalf(unclaimed_.load(std::memory_order_relaxed)) != 0) return true;
    Pause();
  }
  return false;
}

void ThreadPool::SleepUntilWork() {
  MutexLock lock(mu_);
  num_asleep_.fetch_add(1);
  while (LowHalf(unclaimed_.load()) == 0 && !stop_) work_available_.Wait(mu_);
  num_asleep_.fetch_sub(1);
}

void ThreadPool::WaitUntilDone() {
  for (int i = 0; i <= spin_count_; ++i) {
    if (unfinished_.load(std::memory_order_acquire) == 0) return;
    Pause();
  }
  MutexLock lock(mu_);
  caller_asleep_.store(true);
  while (unfinished_.load() != 0) region_done_.Wait(mu_);
  caller_asleep_.store(false);
}

}  // namespace lckv::cpu
