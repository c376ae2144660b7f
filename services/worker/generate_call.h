#pragma once

#include <cstdint>
#include <memory>
#include <utility>

#include "base/mutex.h"
#include "lckv/v1/worker.pb.h"
#include "services/common/stream_writer.h"
#include "services/worker/turn_control.h"

namespace lckv::worker {

// A Generate stream. The turn's thread is its producer: it writes frames, then calls End, and the
// call frees itself.
class GenerateCall final : public StreamWriter<v1::GenerateResponse>, public FrameSink {
 public:
  static constexpr size_t kCapacityFrames = 8;

  GenerateCall() : StreamWriter(kCapacityFrames), control_(std::make_shared<TurnControl>()) {}

  const std::shared_ptr<TurnControl>& control() const { return control_; }

  bool Write(v1::GenerateResponse frame) override {
    // A stream with a gap would be worse than one that ends.
    if (!refused_) refused_ = !WriteOrStop(std::move(frame));
    return !refused_;
  }

 private:
  // A full stream looks this often whether the turn is to stop.
  static constexpr absl::Duration kStopCheckInterval = absl::Milliseconds(100);

  bool WriteOrStop(v1::GenerateResponse frame) {
    for (;;) {
      uint64_t seen = 0;
      {
        MutexLock lock(mu_);
        seen = wakeups_;
      }
      const WriteResult result = TryWrite(std::move(frame));
      if (result != WriteResult::kFull) return result == WriteResult::kAccepted;
      if (control_->stop() != TurnControl::Stop::kNone) return false;
      MutexLock lock(mu_);
      if (wakeups_ == seen) room_.WaitWithTimeout(mu_, kStopCheckInterval);
    }
  }

  void OnWritten() override { Wake(); }
  void OnCancelled() override {
    control_->RequestStop(TurnControl::Stop::kClientGone);
    Wake();
  }
  void OnDone() override { delete this; }

  void Wake() {
    {
      MutexLock lock(mu_);
      ++wakeups_;
    }
    room_.NotifyAll();
  }

  const std::shared_ptr<TurnControl> control_;
  bool refused_ = false;  // the producer's
  Mutex mu_;
  CondVar room_;
  uint64_t wakeups_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace lckv::worker
