#include "services/worker/turn_spans.h"

#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "rpc/outgoing_trace.h"

namespace lckv::worker {

absl::StatusOr<RestoreReport> Restore(SessionOpener& opener, HotSession& session,
                                      AcquiredSession& acquired, const Opening& opening,
                                      absl::Time deadline, const TracePosition& trace) {
  Span span = trace.StartSpan("restore");
  const OutgoingTrace outgoing(FormatTraceparent(span.context()));
  absl::StatusOr<RestoreReport> report = opener.Open(session, acquired, opening, deadline);
  if (!span.recording()) return report;
  span.SetStatus(report.status());
  span.Set("lckv.transcript_tokens", opening.tokens);
  if (report.ok()) {
    span.Set("lckv.restore.outcome", Name(report->outcome));
    span.Set("lckv.restore.tokens", report->tokens);
    span.Set("lckv.restore.bytes", report->bytes);
  }
  return report;
}

void RecordEngineSpans(const TurnOutcome& outcome, int32_t passes, absl::Time submitted,
                       const TracePosition& trace) {
  if (!trace.recording()) return;
  const absl::Time begun = submitted + absl::Seconds(outcome.queue_seconds);
  const absl::Time encoded = begun + absl::Seconds(outcome.encode_seconds);
  if (outcome.encode_seconds > 0) {
    Span encode = trace.StartSpan("encode", begun);
    encode.Set("lckv.encode.tokens", outcome.input_tokens + outcome.reencoded_tokens);
    encode.Set("gen_ai.usage.input_tokens", outcome.input_tokens);
    encode.Set("lckv.encode.reencoded_tokens", outcome.reencoded_tokens);
    encode.Set("lckv.encode.cached_tokens", outcome.cached_tokens);
    encode.Set("lckv.encode.passes", passes);
    encode.Set("lckv.encode.residual", outcome.encode_residual);
    encode.SetStatus(outcome.generated_tokens > 0 ? absl::OkStatus() : outcome.status);
    encode.EndAt(encoded);
  }
  if (outcome.generated_tokens > 0) {
    Span decode = trace.StartSpan("decode", encoded);
    decode.Set("gen_ai.usage.output_tokens", outcome.generated_tokens);
    decode.SetStatus(outcome.status);
    decode.EndAt(encoded + absl::Seconds(outcome.decode_seconds));
  }
}

void EndTurnSpan(const absl::Status& status, const v1::TurnResult& result, Span& span) {
  if (!span.recording()) return;
  span.SetStatus(status);
  span.Set("lckv.worker.id", result.worker());
  span.Set("lckv.restore.source",
           absl::AsciiStrToLower(v1::RestoreSource_Name(result.restore_source())));
  span.Set("lckv.session.version", result.version());
  span.Set("lckv.queue.seconds", result.timings().queue_seconds());
  span.Set("lckv.encode.reencoded_tokens", result.usage().reencoded_tokens());
  span.Set("lckv.encode.cached_tokens", result.usage().cached_tokens());
  span.Set("gen_ai.usage.input_tokens", result.usage().input_tokens());
  span.Set("gen_ai.usage.output_tokens", result.usage().generated_tokens());
  span.Set("gen_ai.response.finish_reasons", std::vector<std::string>{absl::AsciiStrToLower(
                                                 v1::FinishReason_Name(result.finish_reason()))});
  span.End();
}

}  // namespace lckv::worker
