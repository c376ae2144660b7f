#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "engine/encode/segment.h"
#include "engine/encode/segment_cursor.h"
#include "engine/runtime/engine.h"
#include "engine/runtime/turn_stream.h"

namespace lckv {

// A turn that the step loop works on. Belongs to the loop's thread.
struct TurnState {
  TurnRequest request;
  std::shared_ptr<TurnStream> stream;
  bool cancelled = false;

  // Evaluates all known tokens; afterwards the turn decodes.
  std::optional<SegmentCursor> cursor;
  int slot = -1;  // encode slot held; -1: none
  int32_t generated = 0;
  int32_t tokens_before = 0;  // transcript length before the turn: where a failure goes back to

  TurnOutcome outcome;
  absl::Time submitted = absl::InfinitePast();
  absl::Time started = absl::InfinitePast();  // first step
  absl::Time encoded = absl::InfinitePast();  // logits after the input

  bool decoding() const { return cursor.has_value() && cursor->done(); }
};

// Pages of a session that are being copied out of the pool while the loop goes on. They stay where
// they are, but the session may forget tokens and compute others in their place. Belongs to the
// loop's thread.
struct PageHold {
  std::string session;
  SessionTranscript transcript;  // at the beginning
  std::vector<int32_t> pages;    // ids, a reference to each
  int32_t intact_tokens = 0;     // positions before it have not been computed anew since
};

// An open session: transcript, pages, and the turn that extends it. Belongs to the loop's thread.
struct SessionState {
  std::string name;
  EncodePolicy policy;
  int32_t passes = 1;  // K in effect
  SessionTranscript transcript;
  std::vector<int32_t> pages;  // ids; positions [i * T, (i + 1) * T) in pages[i]
  std::unique_ptr<TurnState> turn;
  std::vector<std::shared_ptr<PageHold>> holds;
};

}  // namespace lckv
