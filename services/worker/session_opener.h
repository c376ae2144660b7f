#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "cache/client/cache_client.h"
#include "engine/runtime/engine.h"
#include "services/worker/cache_sync.h"
#include "services/worker/evictor.h"
#include "services/worker/hot_session.h"
#include "services/worker/turn_plan.h"
#include "services/worker/worker_metrics.h"

namespace lckv::worker {

// What happens to a session whose last tokens were computed in another numerics class.
enum class NumericsPolicy {
  kSame,  // refused: FAILED_PRECONDITION reason NUMERICS_MISMATCH
  kAny,   // goes on here, and the response says so
};
// What happens to a session whose KV another model or KV format computed (another fingerprint).
enum class FingerprintPolicy {
  kRecompute,  // rule 1: its KV is not used, the transcript is evaluated again; the response says
               // kv_changed
  kRefuse,     // FAILED_PRECONDITION reason FINGERPRINT_MISMATCH; it waits for a worker of its own
};

// A session's manifest and the read lease that pins its pages; ends the read lease. Move-only; must
// end before the cache client. Blocks when destroyed.
class AcquiredSession {
 public:
  AcquiredSession(CacheClient* cache, v1::AcquireResponse response);
  AcquiredSession(AcquiredSession&&) = default;
  AcquiredSession& operator=(AcquiredSession&&) = delete;
  ~AcquiredSession() { EndReadLease(); }

  const v1::Manifest& manifest() const { return response_->manifest(); }
  const v1::AcquireResponse& response() const { return *response_; }
  bool numerics_changed = false;
  bool kv_changed = false;

  void EndReadLease();

 private:
  CacheClient* cache_;
  std::unique_ptr<v1::AcquireResponse> response_;  // null: moved from
};

struct RestoreReport {
  RestoreOutcome outcome = RestoreOutcome::kComplete;
  int32_t tokens = 0;  // whose KV came from the cache node
  uint64_t bytes = 0;
  absl::Duration time;
};

// Makes cold sessions hot: lease, checks, pages. Rule 1: every failure to restore pages ends in a
// session that is opened with fewer of them, never in an error. Thread-safe; blocks: own threads
// only.
class SessionOpener {
 public:
  struct Options {
    absl::Duration restore_timeout = absl::Seconds(10);
    NumericsPolicy numerics = NumericsPolicy::kSame;
    FingerprintPolicy fingerprint = FingerprintPolicy::kRecompute;
  };
  // All must outlive it.
  SessionOpener(Engine* engine, CacheClient* cache, CacheSync* sync, Evictor* evictor,
                const Options& options, Clock* clock, WorkerMetrics* metrics);

  struct AcquireOptions {
    bool create = false;
    bool takeover = false;
    v1::EncodePolicy encode;  // of a session that is created
    v1::Durability durability = v1::DURABLE;
  };
  // Takes the lease, checks the manifest and fills `session` from it. ABORTED reason LEASE_HELD,
  // NOT_FOUND, UNAVAILABLE, FAILED_PRECONDITION (another model or numerics class), DATA_LOSS
  // (malformed manifest); after an error no lease is held. REQUIRES: the claim of a session that is
  // not hot.
  absl::StatusOr<AcquiredSession> Acquire(HotSession& session, const AcquireOptions& options,
                                          absl::Time deadline);

  // Brings pages into the pool and opens the session with the transcript of `opening`. An error is
  // the engine's refusal of the transcript.
  absl::StatusOr<RestoreReport> Open(HotSession& session, AcquiredSession& acquired,
                                     const Opening& opening, absl::Time deadline);

 private:
  absl::Status CheckModel(AcquiredSession& acquired);
  void FillSession(HotSession& session, const AcquiredSession& acquired,
                   const AcquireOptions& options, absl::Time asked);
  absl::StatusOr<std::unique_ptr<PageImport>> Reserve(int64_t pages);
  // Restores the longest good prefix of `pages` into `import`; the result says how many.
  size_t ReadPages(const AcquiredSession& acquired, absl::Span<const v1::PageEntry> pages,
                   PageImport& import, absl::Time deadline, RestoreOutcome* outcome);
  // Reads pages from `begin` on, as many as can be staged; the result says how many have landed.
  // An error ends the restore.
  absl::StatusOr<size_t> ReadSome(const AcquiredSession& acquired,
                                  absl::Span<const v1::PageEntry> pages, size_t begin,
                                  PageImport& import, absl::Time deadline);

  Engine* const engine_;
  CacheClient* const cache_;
  CacheSync* const sync_;
  Evictor* const evictor_;
  const Options options_;
  Clock* const clock_;
  WorkerMetrics* const metrics_;
};

}  // namespace lckv::worker
