#pragma once

// std::mutex with clang's thread-safety annotations. Not absl::Mutex: Debian's Abseil is built
// without TSan instrumentation, so every use of it would be reported as a race.

#include <algorithm>
#include <condition_variable>
#include <mutex>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"

namespace lckv {

class ABSL_LOCKABLE Mutex {
 public:
  Mutex() = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  void Lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() { mu_.lock(); }
  void Unlock() ABSL_UNLOCK_FUNCTION() { mu_.unlock(); }

 private:
  friend class CondVar;
  std::mutex mu_;
};

class ABSL_SCOPED_LOCKABLE MutexLock {
 public:
  explicit MutexLock(Mutex& mu) ABSL_EXCLUSIVE_LOCK_FUNCTION(mu) : mu_(mu) { mu_.Lock(); }
  ~MutexLock() ABSL_UNLOCK_FUNCTION() { mu_.Unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mu_;
};

// Condition variable for Mutex. Waits may wake spuriously: callers loop over their condition.
class CondVar {
 public:
  void Wait(Mutex& mu) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) {
    std::unique_lock<std::mutex> lock(mu.mu_, std::adopt_lock);
    cv_.wait(lock);
    lock.release();
  }
  // True if `timeout` passed without a notification. A wait is at most kLongestWait: a longer one
  // ends early, without true, as a spurious wake-up does.
  bool WaitWithTimeout(Mutex& mu, absl::Duration timeout) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) {
    std::unique_lock<std::mutex> lock(mu.mu_, std::adopt_lock);
    // A system-clock wait: pthread_cond_clockwait is not intercepted by GCC 12's TSan.
    const absl::Duration wait = std::clamp(timeout, absl::ZeroDuration(), kLongestWait);
    const auto status =
        cv_.wait_until(lock, std::chrono::system_clock::now() + absl::ToChronoMicroseconds(wait));
    lock.release();
    return status == std::cv_status::timeout && timeout <= kLongestWait;
  }
  void NotifyOne() { cv_.notify_one(); }
  void NotifyAll() { cv_.notify_all(); }

 private:
  // An infinite wait would overflow the clock's count.
  static constexpr absl::Duration kLongestWait = absl::Hours(1);

  std::condition_variable cv_;
};

}  // namespace lckv
