#include "engine/runtime/scheduler.h"

#include <algorithm>

namespace lckv {

std::vector<StepPick> Schedule(absl::Span<const SchedulableTurn> turns,
                               const ScheduleLimits& limits) {
  std::vector<StepPick> picks;
  int32_t rows_left = limits.step_tokens;
  int32_t slots_left = limits.free_slots;
  int32_t stage = -1;
  for (size_t i = 0; i < turns.size(); ++i) {
    const SchedulableTurn& turn = turns[i];
    if (!turn.ready) continue;
    if (turn.decode) {
      picks.push_back({i, 1, false});
      continue;
    }
    if (rows_left == 0 || turn.waiting_rows == 0) continue;
    bool takes_slot = false;
    if (turn.needs_slot) {
      if (!turn.has_slot && slots_left == 0) continue;
      if (stage >= 0 && turn.stage != stage) continue;
      stage = turn.stage;
      takes_slot = !turn.has_slot;
      slots_left -= takes_slot ? 1 : 0;
    }
    const int32_t rows = std::min(rows_left, turn.waiting_rows);
    rows_left -= rows;
    picks.push_back({i, rows, takes_slot});
  }
  return picks;
}

}  // namespace lckv
