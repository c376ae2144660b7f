#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace lckv {

// What the scheduler needs to know of a running turn.
struct SchedulableTurn {
  bool ready = false;       // false: nothing to do now (its consumer is behind)
  bool decode = false;      // generates: one row through all layers
  bool needs_slot = false;  // its next item is a stage of the segment encoder
  bool has_slot = false;
  int32_t stage = -1;        // of that item
  int32_t waiting_rows = 0;  // rows that its next item could take, at most
};

struct ScheduleLimits {
  int32_t step_tokens = 0;  // rows of input and replay in one step
  int32_t free_slots = 0;
};

// One turn's share of a step.
struct StepPick {
  size_t turn = 0;       // index into the turns given
  int32_t max_rows = 0;  // of its next item
  bool takes_slot = false;
};

// Decides what one step evaluates. Pure: reads its arguments, keeps nothing. `turns` are in order
// of arrival.
//
//   1. Every ready decoding turn gets its row: decoding never waits for prompts.
//   2. Input and replay share `step_tokens` rows, first come, first served. Staged items of one
//   step must be of one stage: the oldest staged
//      turn that can run fixes it, others join if theirs is the same. A turn without a slot takes a
//      free one.
std::vector<StepPick> Schedule(absl::Span<const SchedulableTurn> turns,
                               const ScheduleLimits& limits);

}  // namespace lckv
