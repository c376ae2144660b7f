#include "services/gateway/relay_policy.h"

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error_info.h"

namespace lckv::gateway {
namespace {

using Action = RelayDecision::Action;

constexpr absl::Duration kRetryAfter = absl::Seconds(1);
constexpr absl::Duration kPollDelay = absl::Milliseconds(200);
// Before the second, third, ... continuation; the first is immediate.
constexpr absl::Duration kContinuationDelay = absl::Milliseconds(200);

RelayDecision End(absl::Status status) {
  RelayDecision decision;
  decision.action = Action::kEnd;
  decision.status = std::move(status);
  return decision;
}

bool IsBroken(const AttemptEnd& end) {
  if (end.stalled || end.status.ok()) return true;
  // Answers of a worker say why; a connection that breaks gives one of these two without a reason.
  const absl::StatusCode code = end.status.code();
  return (code == absl::StatusCode::kUnavailable || code == absl::StatusCode::kCancelled) &&
         ErrorReason(end.status).empty();
}

RelayDecision Continue(const AttemptEnd& end, const TurnHistory& history,
                       const RelayLimits& limits) {
  if (history.continuations >= limits.max_continuations) {
    const std::string message =
        absl::StrCat("the turn was cut off ", history.continuations + 1, " times, last on worker ",
                     end.worker, ": ", end.status.message());
    return End(WithRetryAfter(WithErrorInfo(absl::UnavailableError(message), {kReasonNoWorker, {}}),
                              kRetryAfter));
  }
  RelayDecision decision;
  decision.action = Action::kRetry;
  decision.avoid = end.worker;
  decision.takeover = true;
  decision.continuation = true;
  decision.delay = history.continuations * kContinuationDelay;
  return decision;
}

RelayDecision Reroute(const AttemptEnd& end, const TurnHistory& history, const RelayLimits& limits,
                      RelayDecision decision) {
  if (history.reroutes >= limits.max_reroutes) return End(end.status);
  decision.action = Action::kRetry;
  return decision;
}

RelayDecision RerouteToLease(const AttemptEnd& end, const TurnHistory& history,
                             const RelayLimits& limits,
                             const std::function<WorkerState(absl::string_view)>& state_of) {
  const std::optional<ErrorInfo> info = GetErrorInfo(end.status);
  const auto found = info->metadata.find("holder");
  const std::string holder = found == info->metadata.end() ? std::string() : found->second;
  RelayDecision decision;
  if (holder != end.worker && state_of(holder) == WorkerState::kReady) {
    decision.worker = holder;
  } else {
    decision.worker = end.worker;
    decision.takeover = true;
  }
  return Reroute(end, history, limits, std::move(decision));
}

// The same again a little later, as long as a broken turn may wait.
RelayDecision WaitOrEnd(const absl::Status& status, const TurnHistory& history,
                        const RelayLimits& limits, absl::Time now) {
  const bool broken = history.broken_since != absl::InfiniteFuture();
  if (!broken || now - history.broken_since >= limits.continue_wait) return End(status);
  RelayDecision decision;
  decision.action = Action::kRetry;
  decision.takeover = true;
  decision.wait = true;
  decision.delay = kPollDelay;
  return decision;
}

}  // namespace

RelayDecision AfterAttempt(const AttemptEnd& end, const TurnHistory& history,
                           const RelayLimits& limits, absl::Time now,
                           const std::function<WorkerState(absl::string_view)>& state_of) {
  if (end.done) return End(absl::OkStatus());
  if (IsBroken(end)) return Continue(end, history, limits);
  const std::string reason = ErrorReason(end.status);
  if (reason == kReasonDraining) {
    if (end.begun) return Continue(end, history, limits);
    RelayDecision decision;
    decision.avoid = end.worker;
    decision.takeover = true;
    return Reroute(end, history, limits, std::move(decision));
  }
  if (reason == kReasonLeaseHeld) return RerouteToLease(end, history, limits, state_of);
  if (end.status.code() == absl::StatusCode::kResourceExhausted || reason == kReasonSessionBusy) {
    return WaitOrEnd(end.status, history, limits, now);
  }
  return End(end.status);
}

RelayDecision AfterNoRoute(const absl::Status& status, const TurnHistory& history,
                           const RelayLimits& limits, absl::Time now) {
  return WaitOrEnd(status, history, limits, now);
}

}  // namespace lckv::gateway
