#include "services/worker/turn_runner.h"

#include <algorithm>
#include <utility>

#include "absl/time/clock.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "lckv/v1/worker.grpc.pb.h"
#include "rpc/outgoing_trace.h"
#include "services/worker/turn.h"
#include "services/worker/turn_plan.h"
#include "services/worker/turn_spans.h"

namespace lckv::worker {

TurnRunner::TurnRunner(const TurnParts& parts, const TurnRunnerOptions& options)
    : parts_(parts), options_(options) {}

absl::Status TurnRunner::Run(const v1::WorkerGenerateRequest& request, const TurnArrival& arrival,
                             TurnControl& control, FrameSink& sink) const {
  Span span = arrival.trace.StartCall(SpanKind::kServer, v1::Worker::service_full_name(),
                                      "Generate", arrival.received);
  if (const absl::Status valid = ValidateTurn(request, parts_.engine->config().vocab_size);
      !valid.ok()) {
    span.SetStatus(valid);
    return valid;
  }
  // Calls that no narrower span makes are the turn's.
  const OutgoingTrace outgoing(FormatTraceparent(span.context()));
  Turn turn(parts_, options_, request, arrival, span.position(), control, sink);
  const absl::Status status = turn.Run();
  v1::TurnResult result = turn.result();
  result.mutable_timings()->set_total_seconds(
      absl::ToDoubleSeconds(absl::Now() - arrival.received));
  parts_.metrics->OnTurn(status, result);
  EndTurnSpan(status, result, span);
  LogInfo("turn", {{"trace", span.context().trace_id},
                   {"session", request.session_id()},
                   {"outcome", absl::StatusCodeToString(status.code())},
                   {"error", status.message()},
                   {"input_tokens", result.usage().input_tokens()},
                   {"generated_tokens", result.usage().generated_tokens()},
                   {"restore_source", v1::RestoreSource_Name(result.restore_source())},
                   {"reencoded_tokens", result.usage().reencoded_tokens()},
                   {"seconds", result.timings().total_seconds()}});
  return status;
}

absl::StatusOr<v1::PrefetchResponse> TurnRunner::Prefetch(const v1::PrefetchRequest& request,
                                                          absl::Time deadline,
                                                          const TracePosition& trace) const {
  const OutgoingTrace outgoing(FormatTraceparent(trace.context()));
  const SessionKey key = {request.tenant(), request.session_id()};
  v1::PrefetchResponse response;
  LCKV_ASSIGN_OR_RETURN(
      SessionClaim claim,
      parts_.store->Claim(key, std::min(deadline, parts_.clock->Now() + options_.claim_timeout)));
  if (claim.hot()) return response;
  SessionOpener::AcquireOptions options;
  options.takeover = request.takeover();
  LCKV_ASSIGN_OR_RETURN(AcquiredSession acquired,
                        parts_.opener->Acquire(claim.session(), options, deadline));
  EncodePolicy policy;
  {
    MutexLock lock(claim.session().mu);
    policy = claim.session().policy;
  }
  const Opening opening = PlanOpening(acquired.manifest(), policy, {}, {});
  absl::StatusOr<RestoreReport> report =
      Restore(*parts_.opener, claim.session(), acquired, opening, deadline, trace);
  if (!report.ok()) {
    parts_.sync->ReleaseLease(claim.session());
    return report.status();
  }
  claim.MarkHot();
  response.set_restored_bytes(report->bytes);
  response.set_restored_tokens(static_cast<uint32_t>(report->tokens));
  return response;
}

}  // namespace lckv::worker
