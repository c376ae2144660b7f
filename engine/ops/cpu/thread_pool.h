#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "base/mutex.h"

namespace lckv::cpu {

// Fork-join over a fixed set of threads, for regions of microseconds. The caller takes part as
// thread 0.
//
// A region is a fixed number of chunks, which the threads claim one after another: a thread that
// the operating system has put aside delays nobody but the chunk it holds, so the pool stays useful
// when other processes want the same cores. Which thread ran a chunk never shows in results: chunks
// are independent.
//
// Idle threads watch for the next region for a few microseconds (a step is hundreds of regions back
// to back), then sleep. One caller at a time.
class ThreadPool {
 public:
  // `num_threads` counts the caller: 1 starts no thread. INVALID_ARGUMENT outside [1, kMaxThreads];
  // RESOURCE_EXHAUSTED when the system gives no more threads.
  static absl::StatusOr<std::unique_ptr<ThreadPool>> Create(int num_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  static constexpr int kMaxThreads = 1024;

  int num_threads() const { return num_threads_; }

  // Calls body(chunk, thread) once for each chunk in [0, chunks), thread in [0, num_threads);
  // returns when all calls have returned. Calls with the same `thread` never overlap.
  using Body = absl::FunctionRef<void(int chunk, int thread)>;
  void Run(int chunks, Body body);

  // Splits [0, items) into equal ranges of at least `min_work` (an item is `work_per_item`; the
  // unit is about one fused multiply-add) and calls body(begin, end, thread) for each. Small jobs
  // run on the caller alone.
  using RangeBody = absl::FunctionRef<void(int64_t begin, int64_t end, int thread)>;
  void ParallelFor(int64_t items, int64_t work_per_item, RangeBody body);

 private:
  explicit ThreadPool(int num_threads);

  void WorkerLoop(int thread);
  // Runs chunks of the open region until none is left to claim.
  void RunChunks(int thread);
  // Whether there is something to claim, watching for a short while.
  bool SpinForWork() const;
  void SleepUntilWork();
  void WaitUntilDone();

  const int num_threads_;
  const int spin_count_;
  std::vector<std::thread> threads_;

  // The open region: its number in the upper half, how many of its chunks are unclaimed in the
  // lower. The number makes a claim that comes late fail.
  alignas(64) std::atomic<uint64_t> unclaimed_{0};
  const Body* body_ = nullptr;  // written before unclaimed_, read after a claim
  alignas(64) std::atomic<int> unfinished_{0};

  alignas(64) std::atomic<int> num_asleep_{0};
  std::atomic<bool> caller_asleep_{false};
  std::atomic<bool> stop_{false};
  Mutex mu_;  // orders sleeping against waking only
  CondVar work_available_;
  CondVar region_done_;
};

}  // namespace lckv::cpu
