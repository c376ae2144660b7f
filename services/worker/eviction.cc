#include "services/worker/eviction.h"

#include <algorithm>
#include <tuple>

namespace lckv::worker {

EvictionPlan PlanEviction(std::vector<EvictionCandidate> candidates, absl::Time now,
                          const EvictionGoal& goal) {
  // Ties are broken by name, so that the plan depends on its inputs only.
  std::sort(candidates.begin(), candidates.end(),
            [](const EvictionCandidate& a, const EvictionCandidate& b) {
              return std::tie(a.last_use, a.key.tenant, a.key.session_id) <
                     std::tie(b.last_use, b.key.tenant, b.key.session_id);
            });
  EvictionPlan plan;
  int64_t planned_pages = 0;
  const auto take = [&](const EvictionCandidate& candidate) {
    (candidate.pushed ? plan.evict : plan.push_first).push_back(candidate.key);
    planned_pages += candidate.pages;
  };
  std::vector<EvictionCandidate> kept;
  for (const EvictionCandidate& candidate : candidates) {
    if (now - candidate.last_use >= goal.idle_after) {
      take(candidate);
    } else {
      kept.push_back(candidate);
    }
  }
  for (const bool pushed : {true, false}) {
    for (const EvictionCandidate& candidate : kept) {
      if (planned_pages >= goal.pages_needed) return plan;
      if (candidate.pushed == pushed && candidate.pages > 0) take(candidate);
    }
  }
  return plan;
}

}  // namespace lckv::worker
