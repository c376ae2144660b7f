#include "engine/model/model_config.h"

#include <cmath>
#include <numbers>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace lckv {
namespace {

absl::Status CheckRange(absl::string_view field, int64_t value, int64_t min, int64_t max) {
  if (value >= min && value <= max) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("config: ", field, ": ", value, " is outside [", min, ", ", max, "]"));
}

absl::Status Refuse(absl::string_view field, absl::string_view problem) {
  return absl::InvalidArgumentError(absl::StrCat("config: ", field, ": ", problem));
}

// Comparisons are written so that NaN fails.
bool IsPositive(double value) { return value > 0 && std::isfinite(value); }

absl::Status CheckShapes(const ModelConfig& config) {
  constexpr int64_t kMaxSize = ModelConfig::kMaxSize;
  LCKV_RETURN_IF_ERROR(CheckRange("hidden_size", config.hidden_size, 1, kMaxSize));
  LCKV_RETURN_IF_ERROR(CheckRange("intermediate_size", config.intermediate_size, 1, kMaxSize));
  LCKV_RETURN_IF_ERROR(CheckRange("vocab_size", config.vocab_size, 1, kMaxSize));
  LCKV_RETURN_IF_ERROR(
      CheckRange("num_hidden_layers", config.num_layers, 1, ModelConfig::kMaxLayers));
  LCKV_RETURN_IF_ERROR(CheckRange("num_attention_heads", config.num_heads, 1, kMaxSize));
  LCKV_RETURN_IF_ERROR(CheckRange("num_key_value_heads", config.num_kv_heads, 1, config.num_heads));
  if (config.num_heads % config.num_kv_heads != 0) {
    return Refuse("num_key_value_heads", absl::StrCat(config.num_kv_heads, " does not divide ",
                                                      config.num_heads, " attention heads"));
  }
  LCKV_RETURN_IF_ERROR(CheckRange("head_dim", config.head_dim, 2, ModelConfig::kMaxHeadDim));
  if (config.head_dim % 2 != 0) {
    return Refuse("head_dim", absl::StrCat(config.head_dim, " is odd"));
  }
  LCKV_RETURN_IF_ERROR(CheckRange("num_attention_heads * head_dim",
                                  int64_t{config.num_heads} * config.head_dim, 1, kMaxSize));
  return CheckRange("max_position_embeddings", config.max_positions, 1, ModelConfig::kMaxPositions);
}

absl::Status CheckRope(const ModelConfig& config) {
  if (!IsPositive(config.rope_theta)) return Refuse("rope_theta", "not a positive number");
  const RopeScaling& scaling = config.rope_scaling;
  switch (scaling.kind) {
    case RopeScalingKind::kNone:
      return absl::OkStatus();
    case RopeScalingKind::kLlama3:
      if (!IsPositive(scaling.low_freq_factor)) {
        return Refuse("rope_scaling.low_freq_factor", "not a positive number");
      }
      if (!(scaling.high_freq_factor > scaling.low_freq_factor) ||
          !std::isfinite(scaling.high_freq_factor)) {
        return Refuse("rope_scaling.high_freq_factor", "not above low_freq_factor");
      }
      LCKV_RETURN_IF_ERROR(CheckRange("rope_scaling.original_max_position_embeddings",
                                      scaling.original_max_positions, 1,
                                      ModelConfig::kMaxPositions));
      [[fallthrough]];
    case RopeScalingKind::kLinear:
      if (!IsPositive(scaling.factor))
        return Refuse("rope_scaling.factor", "not a positive number");
      return absl::OkStatus();
    case RopeScalingKind::kTable:
      if (scaling.divisors.size() != static_cast<size_t>(config.head_dim / 2)) {
        return Refuse("rope_freqs", absl::StrCat(scaling.divisors.size(), " values for head_dim ",
                                                 config.head_dim));
      }
      for (const double divisor : scaling.divisors) {
        if (!IsPositive(divisor)) return Refuse("rope_freqs", "a value is not a positive number");
      }
      return absl::OkStatus();
  }
  return Refuse("rope_scaling", "unknown kind");
}

// The Llama 3.1 rule: wavelengths that the original context held often stay, those longer than it
// are stretched by the whole factor, those between are blended.
double ScaleLlama3(double frequency, const RopeScaling& scaling) {
  const double turns = static_cast<double>(scaling.original_max_positions) * frequency /
                       (2 * std::numbers::pi);  // within the original context
  if (turns > scaling.high_freq_factor) return frequency;
  if (turns < scaling.low_freq_factor) return frequency / scaling.factor;
  const double smooth =
      (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor);
  return (1 - smooth) * frequency / scaling.factor + smooth * frequency;
}

}  // namespace

absl::Status ModelConfig::OverrideLayerMap(absl::string_view text) {
  LCKV_ASSIGN_OR_RETURN(layer_map, LayerMap::Parse(text, num_layers));
  return absl::OkStatus();
}

absl::Status ModelConfig::Validate() const {
  LCKV_RETURN_IF_ERROR(CheckShapes(*this));
  if (!(rms_norm_eps > 0 && rms_norm_eps < 1)) return Refuse("rms_norm_eps", "not between 0 and 1");
  LCKV_RETURN_IF_ERROR(CheckRope(*this));
  LCKV_RETURN_IF_ERROR(CheckRange("layer_types", layer_map.num_layers(), num_layers, num_layers));
  LCKV_RETURN_IF_ERROR(CheckRange("sliding_window", sliding_window, 1, kMaxPositions));
  LCKV_RETURN_IF_ERROR(CheckRange("forward_passes", forward_passes, 0, kMaxPasses));
  LCKV_RETURN_IF_ERROR(CheckRange("backward_passes", backward_passes, 0, kMaxPasses));
  LCKV_RETURN_IF_ERROR(CheckRange("forward_passes + backward_passes",
                                  int64_t{forward_passes} + backward_passes, 1, kMaxPasses));
  LCKV_RETURN_IF_ERROR(CheckRange("bos_token_id", bos_token, -1, vocab_size - 1));
  if (eos_tokens.size() > kMaxEosTokens) return Refuse("eos_token_id", "too many tokens");
  for (const int token : eos_tokens) {
    LCKV_RETURN_IF_ERROR(CheckRange("eos_token_id", token, 0, vocab_size - 1));
  }
  return absl::OkStatus();
}

std::vector<double> RopeInverseFrequencies(const ModelConfig& config) {
  const RopeScaling& scaling = config.rope_scaling;
  std::vector<double> frequencies(static_cast<size_t>(config.head_dim / 2));
  for (size_t i = 0; i < frequencies.size(); ++i) {
    double& frequency = frequencies[i];
    frequency = std::pow(config.rope_theta, -2.0 * static_cast<double>(i) / config.head_dim);
    switch (scaling.kind) {
      case RopeScalingKind::kNone:
        break;
      case RopeScalingKind::kLinear:
        frequency /= scaling.factor;
        break;
      case RopeScalingKind::kLlama3:
        frequency = ScaleLlama3(frequency, scaling);
        break;
      case RopeScalingKind::kTable:
        frequency /= scaling.divisors[i];
        break;
    }
  }
  return frequencies;
}

}  // namespace lckv
