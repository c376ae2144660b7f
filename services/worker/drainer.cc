#include "services/worker/drainer.h"

#include <memory>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "base/log.h"

namespace lckv::worker {
namespace {

constexpr absl::Duration kRetryInterval = absl::Milliseconds(100);

}  // namespace

Drainer::Drainer(WorkerCore* core, TurnDesk* desk, LoadBoard* board, WorkerMetrics* metrics,
                 const Options& options, std::function<void()> on_state)
    : core_(core),
      desk_(desk),
      board_(board),
      metrics_(metrics),
      options_(options),
      on_state_(std::move(on_state)) {}

Drainer::~Drainer() {
  if (thread_.joinable()) thread_.join();
}

void Drainer::Start() {
  MutexLock lock(mu_);
  if (started_) return;
  started_ = true;
  thread_ = std::thread([this] { Main(); });
}

bool Drainer::Wait(absl::Time deadline) {
  MutexLock lock(mu_);
  while (!done_) {
    const absl::Duration left = deadline - absl::Now();
    if (left <= absl::ZeroDuration()) return false;
    finished_.WaitWithTimeout(mu_, left);
  }
  return true;
}

Drainer::Progress Drainer::progress() const {
  Progress progress;
  progress.running_turns = desk_->running() + desk_->waiting();
  progress.sessions_left = static_cast<int64_t>(core_->store.size());
  MutexLock lock(mu_);
  progress.done = done_;
  return progress;
}

void Drainer::Main() {
  board_->SetState(v1::LoadReport::DRAINING);
  desk_->Close();
  on_state_();
  LogInfo("draining", {{"turns", desk_->running()}, {"sessions", core_->store.size()}});
  metrics_->SetDrainRemaining(static_cast<int64_t>(core_->store.size()));
  if (!desk_->WaitIdle(absl::Now() + options_.turn_grace)) desk_->StopAll();
  const absl::Time deadline = absl::Now() + options_.handover_time;
  if (!desk_->WaitIdle(deadline)) LogError("turns did not stop", {{"turns", desk_->running()}});
  OffloadAll(deadline);
  LogInfo("drained", {{"sessions_left", core_->store.size()}});
  {
    MutexLock lock(mu_);
    done_ = true;
  }
  finished_.NotifyAll();
}

void Drainer::OffloadAll(absl::Time deadline) {
  for (;;) {
    const std::vector<std::shared_ptr<HotSession>> sessions = core_->store.Hot();
    auto left = static_cast<int64_t>(sessions.size());
    metrics_->SetDrainRemaining(left);
    for (const std::shared_ptr<HotSession>& session : sessions) {
      if (absl::Now() >= deadline) break;
      const absl::Status status = core_->evictor.Offload(session->key, "drain", deadline);
      if (status.ok()) {
        metrics_->SetDrainRemaining(--left);
      } else {
        LogWarning("session not handed over",
                   {{"session", session->key.session_id}, {"error", status.ToString()}});
      }
    }
    if (left == 0) return;
    if (absl::Now() + kRetryInterval >= deadline) {
      LogError("drain ran out of time", {{"sessions_left", left}});
      return;
    }
    absl::SleepFor(kRetryInterval);
  }
}

}  // namespace lckv::worker
