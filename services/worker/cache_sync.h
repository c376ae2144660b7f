#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "base/clock.h"
#include "cache/client/cache_client.h"
#include "engine/runtime/engine.h"
#include "services/worker/hot_session.h"
#include "services/worker/manifest.h"
#include "services/worker/worker_metrics.h"

namespace lckv::worker {

struct CacheSyncOptions {
  std::string worker_id;
  absl::Duration lease_ttl = absl::Seconds(10);
  absl::Duration call_timeout = absl::Seconds(5);   // of one control call
  absl::Duration push_timeout = absl::Seconds(30);  // of one push, all calls together
  absl::Duration backoff_min = absl::Milliseconds(20);
  absl::Duration backoff_max = absl::Seconds(1);
};

// Keeps the cache node's copy of hot sessions in step with this worker: leases, committed turns,
// pages. Blocks on the network and on the engine: own threads only. Thread-safe; calls for one
// session may overlap, except those that say otherwise.
class CacheSync {
 public:
  // All must outlive it.
  CacheSync(Engine* engine, CacheClient* cache, const CacheSyncOptions& options, Clock* clock,
            WorkerMetrics* metrics);

  const CacheSyncOptions& options() const { return options_; }
  const ModelIdentity& model() const { return model_; }

  // Makes sure that a hot session may be extended: renews a lease older than a third of its life,
  // takes a lost one again if nobody changed the session meanwhile. ABORTED: it is not this
  // worker's any more (drop it, then acquire it anew). UNAVAILABLE: the cache node is away; only
  // when the lease has run out, and never for `memory` sessions. REQUIRES: the session's claim.
  absl::Status EnsureLease(HotSession& session, absl::Time deadline);
  // Extends the lease. ABORTED: it is lost, or the session was dropped; UNAVAILABLE.
  absl::Status Renew(HotSession& session, absl::Time deadline);
  // Gives the lease back; the session must be dropped already or about to be. Errors are no matter:
  // a lease runs out.
  void ReleaseLease(HotSession& session);

  // Publishes `next` (the head after a turn, without pages) as the session's new version and makes
  // it the head. Repeats while the cache node is unreachable, until `deadline`; then UNAVAILABLE,
  // and the session is `uncertain` (its head has not changed). ABORTED: another worker has the
  // session. REQUIRES: the session's claim.
  absl::Status CommitTurn(HotSession& session, v1::Manifest next, absl::Time deadline);

  // Makes `next` the head although the cache node does not have it: a turn of a `memory` session
  // that is acknowledged while the node is away. Later commits catch up. REQUIRES: the session's
  // claim.
  void AdoptUnstored(HotSession& session, v1::Manifest next);

  // Publishes pages that were written to a reservation, under the session's head and, beyond it,
  // `draft` (the transcript of a turn in progress; empty: none). Null pages: the head alone.
  // Nothing is published, and FAILED_PRECONDITION returned, when the session was cut or dropped
  // since `cuts`, or the page before `pages` is not stored any more.
  struct WrittenPages {
    std::vector<v1::PageEntry> entries;  // not empty; indices without a gap
    uint64_t reservation = 0;
  };
  absl::Status Publish(HotSession& session, const SessionTranscript& draft,
                       const WrittenPages* pages, uint64_t cuts, absl::Time deadline);

  // Forgets all tokens from `tokens` on, in the engine and in what counts as pushed. REQUIRES: the
  // session's claim, no running turn.
  absl::Status Cut(HotSession& session, int32_t tokens);

 private:
  absl::Time CallDeadline(absl::Time deadline) const;
  absl::Status Reattach(HotSession& session, absl::string_view expected_turn, absl::Time deadline)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(session.commit_mu);
  static bool IsOurs(const HotSession& session, const v1::Manifest& stored,
                     absl::string_view expected_turn) ABSL_EXCLUSIVE_LOCKS_REQUIRED(session.mu);
  // Commits a manifest, and before it the versions between. Updates what is known to be stored.
  absl::Status Commit(HotSession& session, const v1::Manifest& manifest, const WrittenPages* pages,
                      bool sync, absl::Time deadline)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(session.commit_mu);
  absl::Status CommitStep(HotSession& session, const v1::CommitRequest& request,
                          absl::Time deadline);

  Engine* const engine_;
  CacheClient* const cache_;
  const CacheSyncOptions options_;
  Clock* const clock_;
  WorkerMetrics* const metrics_;
  const ModelIdentity model_;
};

// The cache node could not be reached or did not answer in time: what was asked may have happened.
bool IsUnreachable(const absl::Status& status);

}  // namespace lckv::worker
