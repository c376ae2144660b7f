#include "services/worker/turn_desk.h"

#include <utility>

#include "absl/time/clock.h"
#include "base/error_info.h"

namespace lckv::worker {
namespace {

constexpr absl::Duration kRetryAfter = absl::Seconds(1);

}  // namespace

TurnDesk::TurnDesk(int max_running, size_t max_waiting)
    : max_waiting_(max_waiting), executor_(max_running, max_waiting) {}

TurnDesk::~TurnDesk() { Shutdown(); }

absl::Status TurnDesk::Submit(std::shared_ptr<TurnControl> control, std::function<void()> turn) {
  std::list<Entry>::iterator entry;
  {
    MutexLock lock(mu_);
    if (closed_) {
      return WithErrorInfo(absl::UnavailableError("the worker is draining"), {kReasonDraining, {}});
    }
    entry = turns_.insert(turns_.end(), Entry{std::move(control), false});
  }
  if (executor_.TrySubmit([this, entry, turn = std::move(turn)] { Run(entry, turn); })) {
    return absl::OkStatus();
  }
  {
    MutexLock lock(mu_);
    turns_.erase(entry);
  }
  changed_.NotifyAll();
  return WithRetryAfter(
      WithErrorInfo(absl::ResourceExhaustedError("too many turns wait"), {kReasonQueueFull, {}}),
      kRetryAfter);
}

void TurnDesk::Run(std::list<Entry>::iterator entry, const std::function<void()>& turn) {
  {
    MutexLock lock(mu_);
    entry->running = true;
    ++running_;
  }
  turn();
  {
    MutexLock lock(mu_);
    turns_.erase(entry);
    --running_;
  }
  changed_.NotifyAll();
}

void TurnDesk::Close() {
  MutexLock lock(mu_);
  closed_ = true;
  for (const Entry& entry : turns_) {
    if (!entry.running) entry.control->RequestStop(TurnControl::Stop::kDraining);
  }
}

void TurnDesk::StopAll() {
  MutexLock lock(mu_);
  for (const Entry& entry : turns_) entry.control->RequestStop(TurnControl::Stop::kDraining);
}

bool TurnDesk::WaitIdle(absl::Time deadline) {
  MutexLock lock(mu_);
  while (!turns_.empty()) {
    const absl::Duration left = deadline - absl::Now();
    if (left <= absl::ZeroDuration()) return false;
    changed_.WaitWithTimeout(mu_, left);
  }
  return true;
}

void TurnDesk::Shutdown() {
  Close();
  StopAll();
  executor_.Shutdown();
}

int TurnDesk::running() const {
  MutexLock lock(mu_);
  return running_;
}

int TurnDesk::waiting() const {
  MutexLock lock(mu_);
  return static_cast<int>(turns_.size()) - running_;
}

}  // namespace lckv::worker
