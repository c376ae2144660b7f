// Checkpoints in GGUF files of architecture "llama".

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/model/tensor_source.h"

namespace lckv {
namespace {

constexpr char kRopeFreqs[] = "rope_freqs.weight";

absl::Status Unsupported(const GgufFile& file, absl::string_view what) {
  return absl::UnimplementedError(absl::StrCat(file.path(), ": ", what, " is not supported"));
}

// Keys of the file, with a fallback for absent ones where the format has one.
class Keys {
 public:
  explicit Keys(const GgufFile& file) : file_(file) {}

  absl::StatusOr<int> Int(absl::string_view key, int64_t min, int64_t max,
                          std::optional<int64_t> fallback = std::nullopt) const {
    if (fallback.has_value() && file_.Find(key) == nullptr) return static_cast<int>(*fallback);
    LCKV_ASSIGN_OR_RETURN(const int64_t value, file_.GetInt(key));
    if (value < min || value > max) {
      return absl::InvalidArgumentError(absl::StrCat(file_.path(), ": key \"", key, "\": ", value,
                                                     " is outside [", min, ", ", max, "]"));
    }
    return static_cast<int>(value);
  }

  absl::StatusOr<double> Float(absl::string_view key, double fallback) const {
    if (file_.Find(key) == nullptr) return fallback;
    return file_.GetFloat(key);
  }

  absl::StatusOr<std::string> String(absl::string_view key, absl::string_view fallback) const {
    if (file_.Find(key) == nullptr) return std::string(fallback);
    return file_.GetString(key);
  }

 private:
  const GgufFile& file_;
};

absl::Status ReadShapes(const GgufFile& file, ModelConfig& config) {
  constexpr int64_t kMaxSize = ModelConfig::kMaxSize;
  const Keys keys(file);
  LCKV_ASSIGN_OR_RETURN(config.hidden_size, keys.Int("llama.embedding_length", 1, kMaxSize));
  LCKV_ASSIGN_OR_RETURN(config.intermediate_size,
                        keys.Int("llama.feed_forward_length", 1, kMaxSize));
  LCKV_ASSIGN_OR_RETURN(config.num_layers,
                        keys.Int("llama.block_count", 1, ModelConfig::kMaxLayers));
  LCKV_ASSIGN_OR_RETURN(config.num_heads, keys.Int("llama.attention.head_count", 1, kMaxSize));
  LCKV_ASSIGN_OR_RETURN(config.num_kv_heads,
                        keys.Int("llama.attention.head_count_kv", 1, kMaxSize, config.num_heads));
  LCKV_ASSIGN_OR_RETURN(config.head_dim,
                        keys.Int("llama.attention.key_length", 1, ModelConfig::kMaxHeadDim,
                                 config.hidden_size / config.num_heads));
  LCKV_ASSIGN_OR_RETURN(config.max_positions,
                        keys.Int("llama.context_length", 1, ModelConfig::kMaxPositions));
  LCKV_ASSIGN_OR_RETURN(const HostMatrix embedding, file.Tensor(kGgufNames.embedding));
  LCKV_ASSIGN_OR_RETURN(config.vocab_size, keys.Int("llama.vocab_size", 1, kMaxSize,
                                                    std::min(embedding.rows, kMaxSize)));
  return absl::OkStatus();
}

// What the format can say and this engine does not compute.
absl::Status CheckSupported(const GgufFile& file, const ModelConfig& config) {
  const Keys keys(file);
  LCKV_ASSIGN_OR_RETURN(const int experts, keys.Int("llama.expert_count", 0, INT32_MAX, 0));
  if (experts > 0) return Unsupported(file, "a mixture of experts");
  LCKV_ASSIGN_OR_RETURN(const int value_dim,
                        keys.Int("llama.attention.value_length", 0, INT32_MAX, config.head_dim));
  if (value_dim != config.head_dim) {
    return Unsupported(file, "llama.attention.value_length other than key_length");
  }
  LCKV_ASSIGN_OR_RETURN(const int rotated,
                        keys.Int("llama.rope.dimension_count", 0, INT32_MAX, config.head_dim));
  if (rotated != config.head_dim) {
    return Unsupported(file, "llama.rope.dimension_count other than the head's size");
  }
  return absl::OkStatus();
}

absl::Status ReadRope(const GgufFile& file, ModelConfig& config) {
  const Keys keys(file);
  LCKV_ASSIGN_OR_RETURN(config.rope_theta, keys.Float("llama.rope.freq_base", 10000));
  LCKV_ASSIGN_OR_RETURN(const double legacy_factor, keys.Float("llama.rope.scale_linear", 1));
  LCKV_ASSIGN_OR_RETURN(const double factor,
                        keys.Float("llama.rope.scaling.factor", legacy_factor));
  const char* implied = factor == 1 ? "none" : "linear";
  LCKV_ASSIGN_OR_RETURN(const std::string kind, keys.String("llama.rope.scaling.type", implied));
  RopeScaling& scaling = config.rope_scaling;
  if (kind == "linear") {
    scaling.kind = RopeScalingKind::kLinear;
    scaling.factor = factor;
  } else if (kind != "none") {
    return Unsupported(file, absl::StrCat("llama.rope.scaling.type \"", kind, "\""));
  }
  if (!file.HasTensor(kRopeFreqs)) return absl::OkStatus();

  // Llama 3.1's rule comes as a table of divisors, computed when the file was made.
  if (scaling.kind != RopeScalingKind::kNone) {
    return Unsupported(file, "rope_freqs.weight together with RoPE scaling");
  }
  LCKV_ASSIGN_OR_RETURN(const HostMatrix table, file.Tensor(kRopeFreqs));
  LCKV_RETURN_IF_ERROR(CheckShape(table, 1, config.head_dim / 2, file.path(), kRopeFreqs));
  std::vector<float> divisors(static_cast<size_t>(table.cols));
  DequantizeRow(table, 0, divisors.data());
  scaling.kind = RopeScalingKind::kTable;
  scaling.divisors.assign(divisors.begin(), divisors.end());
  return absl::OkStatus();
}

absl::Status ReadTokens(const GgufFile& file, ModelConfig& config) {
  const Keys keys(file);
  const int64_t last = config.vocab_size - 1;
  LCKV_ASSIGN_OR_RETURN(config.bos_token, keys.Int("tokenizer.ggml.bos_token_id", 0, last, -1));
  for (const char* key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"}) {
    LCKV_ASSIGN_OR_RETURN(const int token, keys.Int(key, 0, last, -1));
    auto& known = config.eos_tokens;
    if (token >= 0 && std::find(known.begin(), known.end(), token) == known.end()) {
      known.push_back(token);
    }
  }
  return absl::OkStatus();
}

// One bias of the first layer stands for all: LoadTensors then demands every one of them.
bool HasAnyBias(const GgufFile& file, std::initializer_list<const char*> parts) {
  return std::any_of(parts.begin(), parts.end(), [&](const char* part) {
    return file.HasTensor(absl::StrCat(kGgufNames.layer, "0.", part, ".bias"));
  });
}

class GgufSource final : public TensorSource {
 public:
  explicit GgufSource(const GgufFile& file) : file_(file) {}

  absl::StatusOr<HostMatrix> Load(const std::string& name, int64_t rows, int64_t cols) override {
    LCKV_ASSIGN_OR_RETURN(const HostMatrix matrix, file_.Tensor(name));
    LCKV_RETURN_IF_ERROR(CheckShape(matrix, rows, cols, file_.path(), name));
    return matrix;
  }

 private:
  const GgufFile& file_;
};

// GGUF llama files rotate adjacent pairs (2i, 2i + 1) of a head; we rotate the pairs (i, i +
// head_dim / 2). The files had their q and k rows reordered for that, and here they go back. Whole
// rows move, so any number format will do.
absl::Status RestoreHalves(int heads, int head_dim, CheckpointParts& parts, HostMatrix& matrix) {
  const int64_t row_bytes = BytesOf(matrix.dtype, matrix.cols);
  LCKV_ASSIGN_OR_RETURN(std::unique_ptr<uint8_t[]> buffer, AllocateBytes(matrix.rows * row_bytes));
  const auto* from = static_cast<const uint8_t*>(matrix.data);
  const int half = head_dim / 2;
  for (int head = 0; head < heads; ++head) {
    const int64_t first = int64_t{head} * head_dim;
    for (int i = 0; i < head_dim; ++i) {
      const int64_t source = first + 2 * (i % half) + i / half;
      std::memcpy(buffer.get() + (first + i) * row_bytes, from + source * row_bytes,
                  static_cast<size_t>(row_bytes));
    }
  }
  matrix.data = buffer.get();
  parts.buffers.push_back(std::move(buffer));
  return absl::OkStatus();
}

// The same for a bias [1][heads * head_dim], whose rows are single values.
absl::Status RestoreBiasHalves(int heads, int head_dim, CheckpointParts& parts, HostMatrix& bias) {
  if (bias.data == nullptr) return absl::OkStatus();
  if (IsQuantized(bias.dtype)) {
    return absl::UnimplementedError("a quantised attention bias is not supported");
  }
  std::swap(bias.rows, bias.cols);
  const absl::Status status = RestoreHalves(heads, head_dim, parts, bias);
  std::swap(bias.rows, bias.cols);
  return status;
}

absl::Status RestoreAllHalves(CheckpointParts& parts) {
  const ModelConfig& config = parts.config;
  const int dim = config.head_dim;
  for (LayerTensors& layer : parts.tensors.layers) {
    LCKV_RETURN_IF_ERROR(RestoreHalves(config.num_heads, dim, parts, layer.q_proj));
    LCKV_RETURN_IF_ERROR(RestoreBiasHalves(config.num_heads, dim, parts, layer.q_bias));
    if (layer.k_proj.data == nullptr) continue;
    LCKV_RETURN_IF_ERROR(RestoreHalves(config.num_kv_heads, dim, parts, layer.k_proj));
    LCKV_RETURN_IF_ERROR(RestoreBiasHalves(config.num_kv_heads, dim, parts, layer.k_bias));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ModelConfig> ReadGgufConfig(const GgufFile& file) {
  const Keys keys(file);
  ModelConfig config;
  LCKV_ASSIGN_OR_RETURN(config.architecture, file.GetString("general.architecture"));
  if (config.architecture != "llama") {
    return Unsupported(file, absl::StrCat("general.architecture \"", config.architecture, "\""));
  }
  LCKV_ASSIGN_OR_RETURN(config.name, keys.String("general.name", ""));
  LCKV_RETURN_IF_ERROR(ReadShapes(file, config));
  LCKV_RETURN_IF_ERROR(CheckSupported(file, config));
  LCKV_ASSIGN_OR_RETURN(const double eps, file.GetFloat("llama.attention.layer_norm_rms_epsilon"));
  config.rms_norm_eps = static_cast<float>(eps);
  LCKV_RETURN_IF_ERROR(ReadRope(file, config));
  LCKV_RETURN_IF_ERROR(ReadTokens(file, config));
  config.tied_embeddings = !file.HasTensor(kGgufNames.lm_head);
  config.attention_bias = HasAnyBias(
      file, {kGgufNames.q_proj, kGgufNames.k_proj, kGgufNames.v_proj, kGgufNames.o_proj});
  config.mlp_bias =
      HasAnyBias(file, {kGgufNames.gate_proj, kGgufNames.up_proj, kGgufNames.down_proj});
  config.layer_map = LayerMap::Identity(config.num_layers);
  LCKV_RETURN_IF_ERROR(Annotate(config.Validate(), file.path()));
  return config;
}

absl::StatusOr<CheckpointParts> OpenGguf(const std::string& path,
                                         const Checkpoint::Options& options) {
  LCKV_ASSIGN_OR_RETURN(const GgufFile file, GgufFile::Open(path));
  CheckpointParts parts;
  LCKV_ASSIGN_OR_RETURN(parts.config, ReadGgufConfig(file));
  if (!options.layer_map.empty()) {
    LCKV_RETURN_IF_ERROR(parts.config.OverrideLayerMap(options.layer_map));
  }
  GgufSource source(file);
  LCKV_ASSIGN_OR_RETURN(parts.tensors, LoadTensors(parts.config, kGgufNames, source));
  LCKV_RETURN_IF_ERROR(Annotate(RestoreAllHalves(parts), path));
  parts.files.push_back(file.file());
  parts.tokenizer_path = path;
  LCKV_ASSIGN_OR_RETURN(parts.chat_template, Keys(file).String("tokenizer.chat_template", ""));
  return parts;
}

}  // namespace lckv
