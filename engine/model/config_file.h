#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "engine/model/model_config.h"

namespace lckv {

// The config of a model without its weights, for plans: `path` is an HF directory (its config.json
// only: what generation_config.json adds is not read), a config.json alone (any file whose name
// ends in .json), or a GGUF file. Errors as ModelConfig::FromHfJson and Checkpoint::Open, naming
// the file.
absl::StatusOr<ModelConfig> ReadModelConfig(const std::string& path);

}  // namespace lckv
