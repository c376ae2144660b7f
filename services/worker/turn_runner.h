#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "engine/runtime/engine.h"
#include "engine/tokenizer/tokenizer.h"
#include "lckv/v1/worker.pb.h"
#include "services/common/tracing/span.h"
#include "services/worker/cache_sync.h"
#include "services/worker/evictor.h"
#include "services/worker/page_push.h"
#include "services/worker/push_queue.h"
#include "services/worker/session_opener.h"
#include "services/worker/session_store.h"
#include "services/worker/turn_control.h"
#include "services/worker/turn_input.h"
#include "services/worker/worker_metrics.h"

namespace lckv::worker {

// What turns are made of; everything outlives the runner.
struct TurnParts {
  Engine* engine = nullptr;
  const Tokenizer* tokenizer = nullptr;
  const TurnInputs* inputs = nullptr;
  SessionStore* store = nullptr;
  CacheSync* sync = nullptr;
  PagePush* push = nullptr;
  PushQueue* push_queue = nullptr;
  Evictor* evictor = nullptr;
  SessionOpener* opener = nullptr;
  Clock* clock = nullptr;
  WorkerMetrics* metrics = nullptr;
};

struct TurnRunnerOptions {
  std::string worker_id;
  int checkpoint_tokens = 16;  // generated tokens between two background pushes
  size_t stream_capacity = 64;
  absl::Duration commit_timeout = absl::Seconds(10);
  absl::Duration claim_timeout = absl::Seconds(5);  // waiting for an eviction or an ending turn
};

// When and how a turn arrived.
struct TurnArrival {
  absl::Time received;
  absl::Time deadline = absl::InfiniteFuture();
  TracePosition trace;  // the caller's
};

// Runs whole turns, the Generate of worker.proto: session (hot, or acquired and restored), engine,
// frames, commit, last frame. Rule 6: the last frame goes out only after the turn is committed.
// Thread-safe; Run blocks for as long as the turn lasts: own threads only.
class TurnRunner {
 public:
  TurnRunner(const TurnParts& parts, const TurnRunnerOptions& options);

  // Not OK: the stream ends with this error. CANCELLED when the client has gone, UNAVAILABLE reason
  // DRAINING when the turn is to go on elsewhere; other errors as in worker.proto and design
  // section 7.
  absl::Status Run(const v1::WorkerGenerateRequest& request, const TurnArrival& arrival,
                   TurnControl& control, FrameSink& sink) const;

  // Makes a session hot ahead of its turn. OK, zeros: it was.
  absl::StatusOr<v1::PrefetchResponse> Prefetch(const v1::PrefetchRequest& request,
                                                absl::Time deadline,
                                                const TracePosition& trace = {}) const;

 private:
  const TurnParts parts_;
  const TurnRunnerOptions options_;
};

}  // namespace lckv::worker
