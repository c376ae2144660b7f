#pragma once

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "services/gateway/router.h"

namespace lckv::gateway {

// Bounds of what is done to keep one turn's stream going.
struct RelayLimits {
  int max_continuations = 3;  // times the stream may move on after it broke
  int max_reroutes = 3;       // times a worker may send the turn elsewhere
  // How long a broken turn looks for a worker that can take it.
  absl::Duration continue_wait = absl::Seconds(10);
};

// What has happened to a turn so far.
struct TurnHistory {
  int continuations = 0;
  int reroutes = 0;
  // When the stream broke; InfiniteFuture while it runs, or runs again.
  absl::Time broken_since = absl::InfiniteFuture();
};

// How a call of Worker.Generate ended.
struct AttemptEnd {
  std::string worker;
  absl::Status status;
  bool done = false;     // the final frame was relayed
  bool begun = false;    // some frame was relayed
  bool stalled = false;  // cut off by the gateway because the worker fell silent
};

struct RelayDecision {
  enum class Action {
    kEnd,    // the client gets `status`
    kRetry,  // another call of Worker.Generate
  };
  Action action = Action::kEnd;
  absl::Status status;
  // kRetry:
  std::string worker;  // go there; empty: ask the router
  std::string avoid;   // the router leaves this one out while there is another
  bool takeover = false;
  bool continuation = false;  // counts as one; otherwise a reroute unless `wait`
  bool wait = false;          // nothing moved: the same again, a little later
  absl::Duration delay;
};

// After a call ended. The rules, first match wins:
//  - the final frame was relayed: the turn is complete, whatever came after;
//  - the stream broke (no answer from the worker, stalled, or ended without a final frame), or a
//    draining worker gave up a stream that had begun: continue on another worker with takeover;
//  - a draining worker refused the turn: another worker, with takeover;
//  - LEASE_HELD: to the holder when it is ready, else the same worker again with takeover;
//  - while a broken turn is being continued: a full or busy worker is asked again a little later;
//  - every other error is the worker's answer, and passes through unchanged.
RelayDecision AfterAttempt(const AttemptEnd& end, const TurnHistory& history,
                           const RelayLimits& limits, absl::Time now,
                           const std::function<WorkerState(absl::string_view)>& state_of);

// After the router found no worker: a fresh turn ends with `status`, a broken one waits for a
// worker.
RelayDecision AfterNoRoute(const absl::Status& status, const TurnHistory& history,
                           const RelayLimits& limits, absl::Time now);

}  // namespace lckv::gateway
