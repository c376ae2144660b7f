#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "engine/runtime/engine.h"
#include "services/worker/cache_sync.h"
#include "services/worker/eviction.h"
#include "services/worker/page_push.h"
#include "services/worker/push_queue.h"
#include "services/worker/session_store.h"
#include "services/worker/worker_metrics.h"

namespace lckv::worker {

// Takes sessions out of the worker; eviction.h decides which. Thread-safe; blocks: own threads
// only.
class Evictor {
 public:
  // All must outlive it.
  Evictor(Engine* engine, SessionStore* store, CacheSync* sync, PagePush* push, PushQueue* queue,
          Clock* clock, WorkerMetrics* metrics);

  // Evicts what was idle for `idle_after` and is pushed, and schedules pushes of idle sessions that
  // are not. Returns the number of idle sessions that are not pushed in full.
  int64_t ScanIdle(absl::Duration idle_after);
  // Evicts idle sessions so that `pages` of the pool are free. False: nothing could be evicted.
  bool MakeRoom(int64_t pages);
  // Pushes a session, gives its lease back and frees its pages. OK when it is not hot (any more);
  // ABORTED reason SESSION_BUSY; the error of the push, and the session stays.
  absl::Status Offload(const SessionKey& key, absl::string_view reason, absl::Time deadline);
  // Takes the claimed session out of engine and store as it is, and gives the lease back.
  void Drop(SessionClaim& claim, absl::string_view reason);

 private:
  std::vector<EvictionCandidate> Candidates() const;
  bool EvictPushed(const SessionKey& key, absl::string_view reason);
  bool PushAndEvict(const SessionKey& key);

  Engine* const engine_;
  SessionStore* const store_;
  CacheSync* const sync_;
  PagePush* const push_;
  PushQueue* const queue_;
  Clock* const clock_;
  WorkerMetrics* const metrics_;
};

}  // namespace lckv::worker
