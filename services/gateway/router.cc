#include "services/gateway/router.h"

#include <algorithm>

#include "absl/time/time.h"
#include "base/error_info.h"

namespace lckv::gateway {
namespace {

constexpr absl::Duration kRetryAfter = absl::Seconds(1);

// FNV-1a over both names, then a finaliser so that every input bit reaches the high bits. Part of
// no format: it only has to be the same in every gateway of one deployment.
uint64_t RendezvousWeight(absl::string_view session_id, absl::string_view worker_id) {
  uint64_t hash = 0xcbf29ce484222325u;
  const auto mix = [&hash](absl::string_view text) {
    for (const char c : text) {
      hash ^= static_cast<unsigned char>(c);
      hash *= 0x100000001b3u;
    }
  };
  mix(session_id);
  mix(absl::string_view("\0", 1));
  mix(worker_id);
  hash ^= hash >> 33;
  hash *= 0xff51afd7ed558ccdu;
  hash ^= hash >> 33;
  return hash;
}

absl::Status QueueFull() {
  return WithRetryAfter(
      WithErrorInfo(absl::ResourceExhaustedError("the queue of every suitable worker is full"),
                    {kReasonQueueFull, {}}),
      kRetryAfter);
}

absl::Status NoWorker() {
  return WithRetryAfter(
      WithErrorInfo(absl::UnavailableError("no worker is ready"), {kReasonNoWorker, {}}),
      kRetryAfter);
}

}  // namespace

absl::string_view WorkerStateName(WorkerState state) {
  switch (state) {
    case WorkerState::kDead:
      return "dead";
    case WorkerState::kSuspect:
      return "suspect";
    case WorkerState::kStarting:
      return "starting";
    case WorkerState::kReady:
      return "ready";
    case WorkerState::kDraining:
      return "draining";
  }
  return "unknown";
}

absl::StatusOr<Route> ChooseWorker(absl::string_view session_id, const Placement& placement,
                                   const std::vector<std::string>& excluded) {
  const WorkerView* best = nullptr;
  uint64_t best_weight = 0;
  bool any_ready = false;
  bool takeover = false;
  for (const WorkerView& worker : placement.workers) {
    const bool is_holder = !placement.holder.empty() && worker.id == placement.holder;
    if (is_holder && worker.state != WorkerState::kReady) takeover = true;
    if (worker.state != WorkerState::kReady ||
        std::find(excluded.begin(), excluded.end(), worker.id) != excluded.end()) {
      continue;
    }
    if (is_holder) {
      if (worker.queue_full) return QueueFull();
      return Route{worker.id, false};
    }
    any_ready = true;
    if (worker.queue_full) continue;
    const uint64_t weight = RendezvousWeight(session_id, worker.id);
    if (best == nullptr || worker.turns < best->turns ||
        (worker.turns == best->turns && weight > best_weight)) {
      best = &worker;
      best_weight = weight;
    }
  }
  if (best != nullptr) return Route{best->id, takeover};
  return any_ready ? QueueFull() : NoWorker();
}

}  // namespace lckv::gateway
