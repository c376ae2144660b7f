#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/device/device.h"
#include "engine/encode/segment.h"
#include "engine/ops/backend.h"
#include "engine/runtime/engine.h"
#include "engine/runtime/evaluator.h"
#include "engine/transformer/model.h"
#include "services/cli/model_flags.h"

namespace lckv {

// Where and with which number formats a model runs inside this process.
struct ComputeFlags {
  DeviceOptions device;
  int device_layers = EngineOptions::kAutoLayers;  // of a model that is only evaluated: all
  Layer0Table layer0_table = Layer0Table::kAuto;
  std::string weights = "auto";
  std::string kv = "bf16";
};
void AddComputeFlags(CLI::App& command, ComputeFlags& flags);

// How token lists are cut into segments and encoded: for `logits` and `ppl`.
struct EncodeFlags {
  std::string encode =
      "paper";  // "exact": every token a segment; "paper": one segment, or those of `segments`
  int32_t passes = 0;    // K; 0: the model's m + b
  std::string segments;  // "20,1*8,20": two of 20 tokens, 8 single ones between them
  int chunk = 64;
};
void AddEncodeFlags(CLI::App& command, EncodeFlags& flags);
// The segments of a list of `tokens` tokens. INVALID_ARGUMENT for a malformed or mismatching
// --segments.
absl::StatusOr<std::vector<SegmentRun>> SegmentsOf(const EncodeFlags& flags, int32_t tokens);

// A model with its backend and evaluator, in the order in which they must die.
struct LoadedEvaluator {
  std::unique_ptr<Checkpoint> checkpoint;
  std::unique_ptr<Backend> backend;
  std::unique_ptr<Model> model;
  std::unique_ptr<Evaluator> evaluator;
  int32_t passes = 1;  // K in effect
};
// Loads for lists of up to `max_tokens` tokens (0: the model's positions).
absl::StatusOr<LoadedEvaluator> LoadEvaluator(const ModelFlags& model, const ComputeFlags& compute,
                                              const EncodeFlags& encode, int max_tokens);

}  // namespace lckv
