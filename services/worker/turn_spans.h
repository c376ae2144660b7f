#pragma once

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "engine/runtime/turn_stream.h"
#include "lckv/v1/inference.pb.h"
#include "services/common/tracing/span.h"
#include "services/worker/session_opener.h"

// What a turn's spans say (docs/tracing.md has them all in one table).

namespace lckv::worker {

// SessionOpener::Open as the span "restore".
absl::StatusOr<RestoreReport> Restore(SessionOpener& opener, HotSession& session,
                                      AcquiredSession& acquired, const Opening& opening,
                                      absl::Time deadline, const TracePosition& trace);

// "encode" and "decode", from what the engine says at the end of a turn that it got at `submitted`:
// there is no thread of ours that waits for either.
void RecordEngineSpans(const TurnOutcome& outcome, int32_t passes, absl::Time submitted,
                       const TracePosition& trace);

// How the turn went, in the span of its call. Ends it.
void EndTurnSpan(const absl::Status& status, const v1::TurnResult& result, Span& span);

}  // namespace lckv::worker
