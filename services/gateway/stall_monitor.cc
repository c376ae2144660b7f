#include "services/gateway/stall_monitor.h"

#include <utility>

namespace lckv::gateway {

void StallMonitor::Watch(const std::shared_ptr<WorkerStream>& stream) {
  MutexLock lock(mu_);
  streams_.push_back(stream);
}

void StallMonitor::Tick(absl::Time now) {
  std::vector<std::shared_ptr<WorkerStream>> stalled;
  {
    MutexLock lock(mu_);
    std::vector<std::weak_ptr<WorkerStream>> alive;
    for (std::weak_ptr<WorkerStream>& weak : streams_) {
      std::shared_ptr<WorkerStream> stream = weak.lock();
      if (stream == nullptr) continue;
      alive.push_back(std::move(weak));
      if (now - stream->waiting_since() < stall_timeout_) continue;
      const WorkerState state = table_->StateOf(stream->worker());
      if (state == WorkerState::kDead || state == WorkerState::kSuspect) {
        stalled.push_back(std::move(stream));
      }
    }
    streams_ = std::move(alive);
  }
  // Outside the lock: the end of a stream may start, and so Watch, its successor.
  for (const std::shared_ptr<WorkerStream>& stream : stalled) stream->CancelStalled();
}

}  // namespace lckv::gateway
