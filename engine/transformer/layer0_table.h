#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "engine/model/model_config.h"

namespace lckv {

// Layer 0 reads token embeddings, so its K (before rotation) and V follow from the token's id: a
// model can hold them for the whole vocabulary, and a step looks its rows up where it would project
// them. Rows are made by the ops that would have made them in the step, so no bit depends on it.
enum class Layer0Table {
  kAuto,  // where the device has memory of its own, and the table is small beside the weights
  kOn,
  kOff,
};

// K and V, float32 (what projections give: K is rounded after its rotation only).
int64_t Layer0TableBytes(const ModelConfig& config);

// What the table of a model takes; 0: it gets none. kAuto: at most 2% of `weight_bytes`, which are
// the weights without it, on a device of its own memory (`memory_is_host` false), if layer 0
// produces K/V. INVALID_ARGUMENT: kOn, but it produces none.
absl::StatusOr<int64_t> PlanLayer0Table(const ModelConfig& config, Layer0Table table,
                                        bool memory_is_host, int64_t weight_bytes);

}  // namespace lckv
