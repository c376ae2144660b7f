#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "base/mutex.h"
#include "engine/encode/segment.h"
#include "lckv/v1/cache.pb.h"
#include "services/common/tracing/span.h"
#include "services/worker/session_key.h"

namespace lckv::worker {

// A session whose lease this worker holds and whose KV lies in the engine's pool: what the worker
// knows about it besides the engine, and what it knows the cache node to have.
//
// Whoever holds the session's claim (session_store.h) decides what happens to the session; pushes
// and lease renewals run beside it and touch only what `mu` guards. Invariant while no claim is
// held: the engine's transcript is head's.
struct HotSession {
  explicit HotSession(SessionKey session_key)
      : key(std::move(session_key)), engine_name(EngineName(key)) {}

  const SessionKey key;
  const std::string engine_name;

  // Held while pages are being pushed: a push that began earlier never lands later. Before
  // commit_mu.
  Mutex push_mu;
  // Held while a manifest of this session is on its way to the cache node, so that an older one
  // never lands after a newer one. Before mu; never taken while mu is held.
  Mutex commit_mu;

  mutable Mutex mu;
  // The right to extend the session, and when it was last confirmed.
  uint64_t epoch ABSL_GUARDED_BY(mu) = 0;
  absl::Time lease_confirmed ABSL_GUARDED_BY(mu) = absl::InfinitePast();
  EncodePolicy policy ABSL_GUARDED_BY(mu);
  // The session at its last committed turn: transcript without a turn in progress, no pages.
  v1::Manifest head ABSL_GUARDED_BY(mu);
  // The cache node's copy: its version, and the pages it holds, from page 0 on without a gap.
  uint64_t stored_version ABSL_GUARDED_BY(mu) = 0;
  std::vector<v1::PageEntry> stored_pages ABSL_GUARDED_BY(mu);
  // The engine may have KV that was not pushed.
  bool unpushed ABSL_GUARDED_BY(mu) = false;
  // A commit whose answer never came: the cache node may be one turn ahead of `head`.
  bool uncertain ABSL_GUARDED_BY(mu) = false;
  // Tokens were cut from the transcript so many times: pages read before a cut may not be published
  // after it.
  uint64_t cuts ABSL_GUARDED_BY(mu) = 0;
  // The session left the worker; what still refers to it stops.
  bool dropped ABSL_GUARDED_BY(mu) = false;
  // The page pusher's mark: at most one push is queued or running.
  enum class Push { kNone, kQueued, kRunning, kRunningAndAgain };
  Push push ABSL_GUARDED_BY(mu) = Push::kNone;
  // The turn on whose behalf the next push is made.
  TracePosition push_trace ABSL_GUARDED_BY(mu);

  // A turn was acknowledged that the cache node has not (a `memory` session, the node was away).
  bool AheadOfStore() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) {
    return head.version() != stored_version;
  }
  // The cache node has everything that was acknowledged, and all KV. (An uncertain session counts:
  // its KV can be computed again, and nobody was told of its last turn.)
  bool FullyPushed() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) {
    return (!unpushed || uncertain) && !AheadOfStore() && push == Push::kNone;
  }
  // Forgets stored pages that hold positions from `tokens` on.
  void ForgetPagesFrom(int32_t tokens) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
};

}  // namespace lckv::worker
