#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/encode/segment.h"
#include "lckv/v1/cache.pb.h"

// What an attempt at a turn starts from, decided from a session's manifest. Pure.

namespace lckv::worker {

enum class AttemptKind {
  kFresh,     // the turn follows the committed transcript
  kRepeat,    // it was committed already; its last frame was lost
  kReopened,  // an earlier attempt was committed as cancelled: the stream to it had broken
};

// `manifest` is checked (manifest.h).
AttemptKind ClassifyAttempt(const v1::Manifest& manifest, absl::string_view turn_id);

// What the last committed turn generated.
absl::Span<const int32_t> LastTurnReply(const v1::Manifest& manifest);

// ABORTED reason VERSION_CONFLICT, with the session's version, unless it is `expected`.
absl::Status CheckVersion(uint64_t expected, uint64_t version);

// ABORTED reason VERSION_CONFLICT unless one is the beginning of the other.
absl::Status CheckResumed(absl::Span<const int32_t> resume_from, absl::Span<const int32_t> reply);

// The transcript that the engine must hold before the rest of the turn is submitted.
struct Opening {
  int32_t tokens = 0;                // the committed transcript, and what of the turn was adopted
  std::vector<SegmentRun> segments;  // of these
  bool input_adopted = false;        // all of the input is in it
  int32_t resumed_adopted = 0;       // so many tokens of resume_from are in it
};

// Beyond its committed transcript a manifest may hold a checkpoint of an attempt that died. It is
// adopted as far as it equals this attempt's input and resumed tokens, with the same segment
// borders, and only if pages hold KV of it.
Opening PlanOpening(const v1::Manifest& manifest, const EncodePolicy& policy,
                    absl::Span<const int32_t> input, absl::Span<const int32_t> resume_from);

}  // namespace lckv::worker
