#include "services/cli/model_flags.h"

#include <fstream>
#include <iterator>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace lckv {

void AddModelFlags(CLI::App& command, ModelFlags& flags) {
  CLI::Option_group* source = command.add_option_group("model");
  source->add_option("--model", flags.model, "Model directory (config.json, safetensors) or GGUF");
  source->add_option("--random-weights", flags.random_weights,
                     "config.json of a model whose weights are random, for speed work");
  source->require_option(1);
  command.add_option("--random-seed", flags.random_seed, "Of --random-weights")
      ->capture_default_str();
  command.add_flag("--repeat-layers", flags.repeat_layers,
                   "With --random-weights: every layer has the values of the first; made quickly");
  command.add_option("--layer-map", flags.layer_map, "Layer map instead of the config's: 0_6_6_…");
}

absl::StatusOr<std::unique_ptr<Checkpoint>> OpenCheckpoint(const ModelFlags& flags) {
  if (flags.random_weights.empty()) {
    return Checkpoint::Open(flags.model, {.layer_map = flags.layer_map});
  }
  std::ifstream file(flags.random_weights, std::ios::binary);
  if (!file) {
    return absl::NotFoundError(absl::StrCat(flags.random_weights, ": cannot be opened"));
  }
  const std::string text((std::istreambuf_iterator<char>(file)), {});
  LCKV_ASSIGN_OR_RETURN(ModelConfig config, ModelConfig::FromHfJson(text, ""));
  if (!flags.layer_map.empty()) LCKV_RETURN_IF_ERROR(config.OverrideLayerMap(flags.layer_map));
  return Checkpoint::Random(std::move(config),
                            {.seed = flags.random_seed, .repeat_layers = flags.repeat_layers});
}

}  // namespace lckv
