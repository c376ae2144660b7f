#include "services/cli/model_flags.h"

#include <fstream>
#include <iterator>

#include "absl/strings/str_cat.h"

namespace lckv {

void AddModelFlags(CLI::App& command, ModelFlags& flags) {
  CLI::Option_group* source = command.add_option_group("model");
  source->add_option("--model", flags.model, "Model directory (config.json, safetensors) or GGUF");
  source->add_option("--random-weights", flags.random_weights,
                     "config.json of a model whose weights are random, for speed work");
  source->require_option(1);
  command.add_option("--random-seed", flags.random_seed, "Of --random-weights")
      ->capture_default_str();
  command.add_option("--layer-map", flags.layer_map, "Layer map instead of the config's: 0_6_6_…");
}

absl::StatusOr<std::unique_ptr<Checkpoint>> OpenCheckpoint(const ModelFlags& flags) {
  const Checkpoint::Options options = {.layer_map = flags.layer_map};
  if (flags.random_weights.empty()) return Checkpoint::Open(flags.model, options);
  std::ifstream file(flags.random_weights, std::ios::binary);
  if (!file) {
    return absl::NotFoundError(absl::StrCat(flags.random_weights, ": cannot be opened"));
  }
  const std::string config((std::istreambuf_iterator<char>(file)), {});
  return Checkpoint::Random(config, flags.random_seed, DType::kBf16, options);
}

}  // namespace lckv
