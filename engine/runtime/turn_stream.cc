#include "engine/runtime/turn_stream.h"

#include "absl/time/clock.h"

namespace lckv {

bool TurnStream::HasSpace() const {
  MutexLock lock(mu_);
  return events_.size() < capacity_;
}

void TurnStream::Push(TurnEvent event) {
  {
    MutexLock lock(mu_);
    events_.push_back(std::move(event));
  }
  ready_.NotifyOne();
  if (on_event_) on_event_();
}

std::optional<TurnEvent> TurnStream::TryPop() {
  MutexLock lock(mu_);
  if (events_.empty()) return std::nullopt;
  std::optional<TurnEvent> event(std::move(events_.front()));
  events_.pop_front();
  return event;
}

std::optional<TurnEvent> TurnStream::PopWithTimeout(absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  MutexLock lock(mu_);
  while (events_.empty()) {
    const absl::Duration left = deadline - absl::Now();
    if (left <= absl::ZeroDuration()) return std::nullopt;
    ready_.WaitWithTimeout(mu_, left);
  }
  std::optional<TurnEvent> event(std::move(events_.front()));
  events_.pop_front();
  return event;
}

}  // namespace lckv
