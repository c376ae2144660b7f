#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "engine/model/checkpoint.h"

namespace lckv {

// Which model a command works on.
struct ModelFlags {
  std::string model;           // directory or GGUF file
  std::string layer_map;       // not empty: instead of the config's
  std::string random_weights;  // not empty: a config.json; weights are random
  uint64_t random_seed = 0;
  bool repeat_layers = false;
};

// --model or --random-weights (one is required) with --random-seed and --repeat-layers, and
// --layer-map.
void AddModelFlags(CLI::App& command, ModelFlags& flags);

absl::StatusOr<std::unique_ptr<Checkpoint>> OpenCheckpoint(const ModelFlags& flags);

}  // namespace lckv
