#pragma once

#include <functional>
#include <thread>
#include <vector>

#include "base/bounded_queue.h"

namespace lckv {

// A fixed pool of threads for work that blocks (calls to other services, disk), so that gRPC's few
// callback threads never do. At most `queue_capacity` tasks wait. Thread-safe.
class Executor {
 public:
  // REQUIRES: threads > 0, queue_capacity > 0.
  Executor(int threads, size_t queue_capacity);
  // As Shutdown.
  ~Executor();
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  // False, and `task` is not run, when the queue is full or the pool is shut down. Tasks must not
  // throw.
  bool TrySubmit(std::function<void()> task);
  // Takes no more tasks, runs those that wait and joins the threads. Call from outside the pool.
  void Shutdown();

  size_t waiting() const { return queue_.size(); }

 private:
  BoundedQueue<std::function<void()>> queue_;
  std::vector<std::thread> threads_;
};

}  // namespace lckv
