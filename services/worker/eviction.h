#pragma once

#include <cstdint>
#include <vector>

#include "absl/time/time.h"
#include "services/worker/session_key.h"

namespace lckv::worker {

// An idle session, as the eviction decision sees it.
struct EvictionCandidate {
  SessionKey key;
  absl::Time last_use;
  int64_t pages = 0;    // of the engine's pool that it holds
  bool pushed = false;  // the cache node has everything
};

struct EvictionGoal {
  absl::Duration idle_after = absl::InfiniteDuration();  // evict what was idle for so long
  int64_t pages_needed = 0;                              // and free at least so many pages
};

struct EvictionPlan {
  std::vector<SessionKey> evict;       // all are pushed; least recently used first
  std::vector<SessionKey> push_first;  // to be evicted once the cache node has them
};

// Pure. Idle time decides first, then pages are missing: pushed sessions, least recently used
// first, and only if those do not suffice sessions that must be pushed before. Plans no more than
// the goal asks for.
EvictionPlan PlanEviction(std::vector<EvictionCandidate> candidates, absl::Time now,
                          const EvictionGoal& goal);

}  // namespace lckv::worker
