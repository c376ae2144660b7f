#include "engine/plan/paper_table.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace lckv {
namespace {

constexpr int kPaperPositions = 8192;

struct Shape {
  const char* model;
  int hidden;
  int intermediate;
  int layers;
  int heads;
  int kv_heads;
};
constexpr Shape kShapes[] = {{"1.1B", 2048, 5632, 22, 32, 4},
                             {"7B", 4096, 11008, 32, 32, 32},
                             {"30B", 6656, 17920, 60, 52, 52}};

// Layers [warmup / 2, layers - warmup / 2) use the topmost of them.
std::string WarmupMap(int layers, int warmup) {
  const int begin = warmup / 2, end = layers - warmup / 2;
  std::string map;
  for (int layer = 0; layer < layers; ++layer) {
    const bool condensed = layer >= begin && layer < end;
    absl::StrAppend(&map, layer == 0 ? "" : "_", condensed ? end - 1 : layer);
  }
  return map;
}

}  // namespace

const std::vector<PaperRow>& PaperTable() {
  static const auto* const rows = new std::vector<PaperRow>{
      {"rtx3090", "1.1B", 5, 8187, {48, 384, 119}, {1424.96, 4113.37, 2374.05}},
      {"rtx3090", "1.1B", 5, 2043, {239, 1150, 289}, {5142.86, 10033.40, 7239.92}},
      {"rtx3090", "7B", 5, 8187, {1, 12, 4}, {32.02, 151.91, 83.80}},
      {"rtx3090", "7B", 2048, 2048, {2, 23, 8}, {56.98, 171.65, 119.68}},
      {"rtx3090", "7B", 5, 2043, {5, 64, 16}, {140.88, 534.02, 315.38}},
      {"rtx3090", "7B", 512, 512, {9, 95, 32}, {225.31, 378.89, 380.60}},
      {"rtx3090", "7B", 512, 1024, {7, 72, 16}, {174.11, 401.92, 310.05}},
      {"rtx3090", "30B", 512, 1024, {4, 83, 23}, {0.23, 5.99, 1.63}, true},
      {"a100", "7B", 2048, 2048, {15, 128, 42}, {141.10, 421.02, 315.09}},
      {"a100", "30B", 2048, 2048, {1, 32, 8}, {14.10, 108.29, 77.65}},
  };
  return *rows;
}

absl::StatusOr<ModelConfig> PaperModel(const std::string& model, int warmup) {
  for (const Shape& shape : kShapes) {
    if (model != shape.model) continue;
    if (warmup < 0 || warmup >= shape.layers) {
      return absl::InvalidArgumentError(
          absl::StrCat(warmup, " warmup layers of ", shape.layers, " layers"));
    }
    ModelConfig config;
    config.architecture = "lckv-llama";
    config.name = model;
    config.hidden_size = shape.hidden;
    config.intermediate_size = shape.intermediate;
    config.num_layers = shape.layers;
    config.num_heads = shape.heads;
    config.num_kv_heads = shape.kv_heads;
    config.head_dim = shape.hidden / shape.heads;
    config.vocab_size = 32000;
    config.max_positions = kPaperPositions;
    config.layer_map = LayerMap::Identity(shape.layers);
    if (warmup > 0) {
      config.force_nodiag = true;
      LCKV_RETURN_IF_ERROR(config.OverrideLayerMap(WarmupMap(shape.layers, warmup)));
    }
    LCKV_RETURN_IF_ERROR(config.Validate());
    return config;
  }
  return absl::InvalidArgumentError(absl::StrCat("the paper has no model \"", model, "\""));
}

absl::StatusOr<Plan> PlanPaperRow(const PaperRow& row, int warmup) {
  LCKV_ASSIGN_OR_RETURN(const ModelConfig config, PaperModel(row.model, warmup));
  LCKV_ASSIGN_OR_RETURN(const DeviceSpec device, FindDevice(row.device));
  PlanRequest request;
  request.prompt_tokens = row.prompt_tokens;
  request.generated_tokens = row.generated_tokens;
  return MakePlan(config, device, request);
}

}  // namespace lckv
