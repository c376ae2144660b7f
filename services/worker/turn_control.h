#pragma once

#include <functional>
#include <utility>

#include "base/mutex.h"
#include "lckv/v1/inference.pb.h"

namespace lckv::worker {

// Where a turn's frames go. Used by one thread.
class FrameSink {
 public:
  virtual ~FrameSink() = default;
  // Blocks while the client is slow and the turn is not asked to stop. False: the frame was not
  // taken, and no later one will be.
  virtual bool Write(v1::GenerateResponse frame) = 0;
};

// How a turn is stopped from outside. Thread-safe.
class TurnControl {
 public:
  enum class Stop { kNone, kClientGone, kDraining };

  // The first reason counts. Does not block: may be called on a gRPC thread.
  void RequestStop(Stop reason) {
    MutexLock lock(mu_);
    if (stop_ != Stop::kNone) return;
    stop_ = reason;
    if (cancel_) cancel_();
  }
  Stop stop() const {
    MutexLock lock(mu_);
    return stop_;
  }

  // Calls `cancel` once when the turn is to stop, at once if it is already. It must not block, and
  // is not called any more once Detach returns.
  void Attach(std::function<void()> cancel) {
    MutexLock lock(mu_);
    cancel_ = std::move(cancel);
    if (stop_ != Stop::kNone) cancel_();
  }
  void Detach() {
    MutexLock lock(mu_);
    cancel_ = nullptr;
  }

 private:
  mutable Mutex mu_;
  Stop stop_ ABSL_GUARDED_BY(mu_) = Stop::kNone;
  std::function<void()> cancel_ ABSL_GUARDED_BY(mu_);
};

}  // namespace lckv::worker
