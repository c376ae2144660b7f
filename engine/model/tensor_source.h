#pragma once

// Internal to engine/model: how the three kinds of checkpoints fill ModelTensors.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/model/checkpoint.h"
#include "engine/model/gguf_file.h"
#include "engine/model/mapped_file.h"
#include "engine/model/model_config.h"

namespace lckv {

// Where weights come from, by the name that they have there.
class TensorSource {
 public:
  virtual ~TensorSource() = default;
  // Exactly [rows][cols]; a vector has one row. INVALID_ARGUMENT when its shape is another one;
  // other errors as the files' Tensor methods. Messages name source and tensor.
  virtual absl::StatusOr<HostMatrix> Load(const std::string& name, int64_t rows, int64_t cols) = 0;
};

// How a format names the tensors of a Llama: `layer` + layer number + "." + part + ".weight" or
// ".bias".
struct TensorNames {
  const char* embedding;
  const char* final_norm;
  const char* lm_head;
  const char* layer;
  const char* input_norm;
  const char* post_attention_norm;
  const char* q_proj;
  const char* k_proj;
  const char* v_proj;
  const char* o_proj;
  const char* gate_proj;
  const char* up_proj;
  const char* down_proj;
};
extern const TensorNames kHfNames;
extern const TensorNames kGgufNames;

// Loads what `config` calls for and nothing else.
absl::StatusOr<ModelTensors> LoadTensors(const ModelConfig& config, const TensorNames& names,
                                         TensorSource& source);

// INVALID_ARGUMENT naming file and tensor unless `matrix` is [rows][cols].
absl::Status CheckShape(const HostMatrix& matrix, int64_t rows, int64_t cols,
                        absl::string_view file, absl::string_view tensor);

// Zero bytes; RESOURCE_EXHAUSTED when there is no memory for them.
absl::StatusOr<std::unique_ptr<uint8_t[]>> AllocateBytes(int64_t size_bytes);

// Everything that a checkpoint holds, and what keeps its tensors alive.
struct CheckpointParts {
  ModelConfig config;
  ModelTensors tensors;
  std::string tokenizer_path;
  std::string chat_template;
  std::vector<std::shared_ptr<const MappedFile>> files;  // in digest order
  std::vector<std::unique_ptr<uint8_t[]>> buffers;
  std::string generated_from;  // random weights: what decides them, in place of files
};

absl::StatusOr<CheckpointParts> OpenHfDirectory(const std::string& directory,
                                                const Checkpoint::Options& options);
absl::StatusOr<CheckpointParts> OpenGguf(const std::string& path,
                                         const Checkpoint::Options& options);
absl::StatusOr<CheckpointParts> MakeRandom(ModelConfig config,
                                           const Checkpoint::RandomWeights& weights);

// The config that a GGUF file of architecture "llama" describes, validated. Errors as
// ModelConfig::FromHfJson.
absl::StatusOr<ModelConfig> ReadGgufConfig(const GgufFile& file);

}  // namespace lckv
