#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/model/model_config.h"
#include "engine/plan/plan.h"

namespace lckv {

// The maps of the paper's Table 1: every layer its own KV, and w layers besides the condensed block
// with their own.
inline constexpr std::array<int, 3> kPaperWarmupLayers = {0, 2, 10};  // 0: the full map

// A row of Table 1 of the LCKV paper (arXiv 2405.10637v2, m = 7, b = 2): what its implementation
// reached, by map in the order of kPaperWarmupLayers.
struct PaperRow {
  std::string device;  // of KnownDevices
  std::string model;   // "1.1B" "7B" "30B"
  int64_t prompt_tokens = 0;
  int64_t generated_tokens = 0;
  std::array<int64_t, 3> largest_batch = {};
  std::array<double, 3> tokens_per_second = {};  // generated, over the time of the whole batch
  bool offloaded = false;                        // the paper kept weights in host memory
};
const std::vector<PaperRow>& PaperTable();

// Shapes of Table 5. The layer map: `warmup` / 2 layers with their own KV at the bottom and at the
// top, the block between them uses the KV of its topmost layer; 0: the full map. INVALID_ARGUMENT:
// an unknown model, or more warmup layers than it has.
absl::StatusOr<ModelConfig> PaperModel(const std::string& model, int warmup);

// The plan of a row with one of its maps: bf16 weights and KV, everything else as PlanRequest has
// it.
absl::StatusOr<Plan> PlanPaperRow(const PaperRow& row, int warmup);

}  // namespace lckv
