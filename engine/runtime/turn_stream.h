#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <utility>
#include <variant>

#include "absl/status/status.h"
#include "base/mutex.h"

namespace lckv {

enum class FinishReason { kStop, kLength, kContext, kCancelled };

// How a turn went; the last event of its stream. Durations in seconds.
struct TurnOutcome {
  absl::Status status;  // not OK: the turn failed; the session is as before the turn
  FinishReason finish_reason = FinishReason::kStop;
  int32_t input_tokens = 0;
  int32_t generated_tokens = 0;  // resumed ones included
  int32_t cached_tokens = 0;     // transcript tokens whose KV was there when the turn began
  int32_t reencoded_tokens =
      0;  // transcript (and resumed) tokens whose KV had to be computed again
  float encode_residual =
      0;  // largest relative KV change in the last pass of an input segment; 0: exact
  double queue_seconds = 0;
  double encode_seconds = 0;  // first step to the logits after the input
  double decode_seconds = 0;
};

struct TurnToken {
  int32_t id = 0;
};

using TurnEvent = std::variant<TurnToken, TurnOutcome>;

// The bounded mailbox between the step loop and whoever delivers a turn's tokens; outlives both
// sides by shared ownership. Tokens queue up to `capacity`; at the bound the engine pauses this
// turn only. The outcome always fits. `on_event` runs on the step loop's thread after each push: it
// must only signal, never block or call the engine. Thread-safe.
class TurnStream {
 public:
  TurnStream(size_t capacity, std::function<void()> on_event)
      : capacity_(capacity), on_event_(std::move(on_event)) {}

  // Engine side, one thread.
  bool HasSpace() const;
  void Push(TurnEvent event);
  // Consumer side.
  std::optional<TurnEvent> TryPop();
  // Waits for an event; nothing after `timeout`.
  std::optional<TurnEvent> PopWithTimeout(absl::Duration timeout);

 private:
  const size_t capacity_;
  const std::function<void()> on_event_;
  mutable Mutex mu_;
  CondVar ready_;
  std::deque<TurnEvent> events_ ABSL_GUARDED_BY(mu_);
};

}  // namespace lckv
