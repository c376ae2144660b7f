#pragma once

#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "cache/client/cache_client.h"
#include "engine/runtime/engine.h"
#include "services/common/tracing/span.h"
#include "services/worker/cache_sync.h"
#include "services/worker/hot_session.h"

namespace lckv::worker {

// Sends what the cache node lacks of a session: new and changed pages, and a committed turn that it
// has not. Reserve, write, publish, in pieces of a bounded size: nothing is visible before it is
// whole. Thread-safe; blocks: own threads only.
class PagePush {
 public:
  // All must outlive it.
  PagePush(Engine* engine, CacheClient* cache, CacheSync* sync, WorkerMetrics* metrics);

  // Also while a turn runs. After an error the session is `unpushed`; what was written is given
  // back. OK when there was nothing to do. Waits while another push of the session runs. `trace`:
  // the turn whose pages these are; a push that somebody else asks for belongs to none.
  absl::Status Push(HotSession& session, const TracePosition& trace = {});

 private:
  struct Start;
  struct Delta;

  static Start Begin(HotSession& session);
  absl::StatusOr<uint64_t> PushDelta(HotSession& session, Start start);
  // Pushes the pages of `exported`; returns their bytes. Moves `start` behind them.
  absl::StatusOr<uint64_t> PushPiece(HotSession& session, const SessionExport& exported,
                                     absl::Time deadline, Start& start);
  // Leaves the content id of the last full page in `start.parent`.
  Delta MakeDelta(const SessionExport& exported, const SessionKey& key, Start& start) const;
  absl::Status Write(const HotSession& session, const Start& start, Delta& delta,
                     absl::Time deadline);

  Engine* const engine_;
  CacheClient* const cache_;
  CacheSync* const sync_;
  WorkerMetrics* const metrics_;
};

}  // namespace lckv::worker
