#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/model/layer_map.h"

namespace lckv {

// The numeric values appear in fingerprints: never renumber.
enum class RopeScalingKind { kNone = 0, kLinear = 1, kLlama3 = 2, kTable = 3 };

struct RopeScaling {
  RopeScalingKind kind = RopeScalingKind::kNone;
  double factor = 1;  // kLinear, kLlama3
  // kLlama3 only (Llama 3.1):
  double low_freq_factor = 1;
  double high_freq_factor = 4;
  int64_t original_max_positions = 8192;
  // kTable only: what each frequency is divided by [head_dim / 2], as GGUF stores it in
  // rope_freqs.weight.
  std::vector<double> divisors;
};

// Everything that a checkpoint's config decides, whatever file format it came from. A validated
// value: whoever holds one from the parsers below may rely on every range named here.
struct ModelConfig {
  static constexpr int64_t kMaxSize = int64_t{1} << 20;  // of each dimension of a weight matrix
  static constexpr int kMaxLayers = 1024;
  static constexpr int kMaxHeadDim = 1024;
  static constexpr int64_t kMaxPositions = int64_t{1} << 24;
  static constexpr int kMaxPasses = 1024;  // forward_passes + backward_passes
  static constexpr size_t kMaxEosTokens = 64;

  std::string architecture;  // "llama", "lckv-llama" or "opt-llama"
  std::string name;          // for people; may be empty
  int hidden_size = 0;
  int intermediate_size = 0;
  int num_layers = 0;
  int num_heads = 0;
  int num_kv_heads = 0;  // divides num_heads
  int head_dim = 0;      // even
  int vocab_size = 0;
  int max_positions = 0;
  float rms_norm_eps = 1e-5f;
  double rope_theta = 10000;
  RopeScaling rope_scaling;
  bool tied_embeddings = false;
  bool attention_bias = false;  // on q, k, v and o
  bool mlp_bias = false;

  LayerMap layer_map = LayerMap::Identity(0);
  bool force_nodiag = false;
  int sliding_window = 4096;  // keys, counting the token itself; of layers marked "s"
  int forward_passes = 7;     // m
  int backward_passes = 2;    // b
  bool use_sequential = false;

  int bos_token = -1;           // -1: none
  std::vector<int> eos_tokens;  // may be empty

  // nodiag(i): layer i does not see its own position.
  bool nodiag(int layer) const { return force_nodiag || layer_map.attends_up(layer); }
  // K: passes of an input segment unless the session asks otherwise; 1 for acyclic maps.
  int default_passes() const { return layer_map.cyclic() ? forward_passes + backward_passes : 1; }

  // Reads HF config.json text of `llama`, `lckv-llama` and the older `opt-llama` of the public LCKV
  // code. `generation_json` may be empty; its eos_token_id is added. Errors name the field:
  // INVALID_ARGUMENT for what is malformed or out of range, UNIMPLEMENTED for what a well-formed
  // config asks for and this engine does not compute.
  static absl::StatusOr<ModelConfig> FromHfJson(absl::string_view config_json,
                                                absl::string_view generation_json);
  // Replaces the layer map. INVALID_ARGUMENT as LayerMap::Parse.
  absl::Status OverrideLayerMap(absl::string_view text);
  // Checks every range; INVALID_ARGUMENT names the field. The parsers have called it.
  absl::Status Validate() const;
};

// Inverse frequencies [head_dim / 2] in radians a position, with scaling applied (linear: all
// divided by factor; llama3: the piecewise rule of the Llama 3.1 reference code; table: each by
// its divisor).
std::vector<double> RopeInverseFrequencies(const ModelConfig& config);

}  // namespace lckv
