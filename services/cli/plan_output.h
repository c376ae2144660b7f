#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/model/model_config.h"
#include "engine/plan/device_spec.h"
#include "engine/plan/plan.h"

namespace lckv {

// What `lckv plan` shows of one model on one device.
struct PlanReport {
  ModelConfig config;
  DeviceSpec device;
  PlanRequest request;
  Plan plan;
  // The ordinary Llama of the same shape; RESOURCE_EXHAUSTED when it does not fit, NOT_FOUND when
  // the map is the full one already.
  absl::StatusOr<Plan> full_map;
};

// Exact numbers in base units: bytes, seconds, tokens a second.
nlohmann::ordered_json ToJson(const PlanReport& report);
// The same for people, rounded, this map beside the full one.
std::string ToTable(const PlanReport& report);

// A row of the paper's Table 1 and the plans of its three maps.
struct PaperReport {
  size_t row = 0;                           // of PaperTable()
  std::vector<absl::StatusOr<Plan>> plans;  // in the order of kPaperWarmupLayers
};
nlohmann::ordered_json ToJson(const std::vector<PaperReport>& reports);
std::string ToTable(const std::vector<PaperReport>& reports);

}  // namespace lckv
