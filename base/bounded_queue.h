#pragma once

#include <deque>
#include <optional>
#include <utility>

#include "absl/time/clock.h"
#include "base/check.h"
#include "base/mutex.h"

namespace lckv {

// A FIFO of at most `capacity` items between any number of threads. Full: TryPush says so at once,
// nothing waits to get in. Closed: no push succeeds any more; pops hand out what is left, then
// nothing.
template <typename T>
class BoundedQueue {
 public:
  explicit BoundedQueue(size_t capacity) : capacity_(capacity) { LCKV_CHECK(capacity > 0); }

  // False, and `item` untouched, when the queue is full or closed.
  bool TryPush(T&& item) {
    {
      MutexLock lock(mu_);
      if (closed_ || items_.size() >= capacity_) return false;
      items_.push_back(std::move(item));
    }
    ready_.NotifyOne();
    return true;
  }

  // The oldest item, or nothing when the queue is empty.
  std::optional<T> TryPop() {
    MutexLock lock(mu_);
    return PopLocked();
  }

  // Waits for an item; nothing means closed and drained.
  std::optional<T> Pop() {
    MutexLock lock(mu_);
    while (items_.empty() && !closed_) ready_.Wait(mu_);
    return PopLocked();
  }

  // As Pop, but gives up after `timeout`.
  std::optional<T> PopWithTimeout(absl::Duration timeout) {
    MutexLock lock(mu_);
    const absl::Time deadline = absl::Now() + timeout;
    while (items_.empty() && !closed_) {
      const absl::Duration left = deadline - absl::Now();
      if (left <= absl::ZeroDuration()) break;
      ready_.WaitWithTimeout(mu_, left);
    }
    return PopLocked();
  }

  void Close() {
    {
      MutexLock lock(mu_);
      closed_ = true;
    }
    ready_.NotifyAll();
  }

  size_t size() const {
    MutexLock lock(mu_);
    return items_.size();
  }
  size_t capacity() const { return capacity_; }

 private:
  std::optional<T> PopLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (items_.empty()) return std::nullopt;
    std::optional<T> item(std::move(items_.front()));
    items_.pop_front();
    return item;
  }

  const size_t capacity_;
  mutable Mutex mu_;
  CondVar ready_;
  std::deque<T> items_ ABSL_GUARDED_BY(mu_);
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace lckv
