// ModelConfig::FromHfJson: config.json as Hugging Face checkpoints carry it.

#include <algorithm>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "engine/model/json_fields.h"
#include "engine/model/model_config.h"

namespace lckv {
namespace {

using nlohmann::json;

absl::Status Unsupported(absl::string_view field, absl::string_view value) {
  return absl::UnimplementedError(
      absl::StrCat("config.json: ", field, ": \"", value.substr(0, 100), "\" is not supported"));
}

absl::StatusOr<int> SmallInt(const JsonFields& fields, absl::string_view field, int64_t min,
                             int64_t max, std::optional<int64_t> fallback = std::nullopt) {
  LCKV_ASSIGN_OR_RETURN(const int64_t value, fields.Int(field, min, max, fallback));
  return static_cast<int>(value);
}

absl::Status ReadShapes(const JsonFields& fields, ModelConfig& config) {
  constexpr int64_t kMaxSize = ModelConfig::kMaxSize;
  LCKV_ASSIGN_OR_RETURN(config.hidden_size, SmallInt(fields, "hidden_size", 1, kMaxSize));
  LCKV_ASSIGN_OR_RETURN(config.intermediate_size,
                        SmallInt(fields, "intermediate_size", 1, kMaxSize));
  LCKV_ASSIGN_OR_RETURN(config.vocab_size, SmallInt(fields, "vocab_size", 1, kMaxSize));
  LCKV_ASSIGN_OR_RETURN(config.num_layers,
                        SmallInt(fields, "num_hidden_layers", 1, ModelConfig::kMaxLayers));
  LCKV_ASSIGN_OR_RETURN(config.num_heads, SmallInt(fields, "num_attention_heads", 1, kMaxSize));
  LCKV_ASSIGN_OR_RETURN(config.num_kv_heads,
                        SmallInt(fields, "num_key_value_heads", 1, kMaxSize, config.num_heads));
  if (fields.Find("head_dim") == nullptr && config.hidden_size % config.num_heads != 0) {
    return fields.Error("num_attention_heads", "does not divide hidden_size, and no head_dim");
  }
  LCKV_ASSIGN_OR_RETURN(config.head_dim, SmallInt(fields, "head_dim", 1, ModelConfig::kMaxHeadDim,
                                                  config.hidden_size / config.num_heads));
  LCKV_ASSIGN_OR_RETURN(config.max_positions, SmallInt(fields, "max_position_embeddings", 1,
                                                       ModelConfig::kMaxPositions, 2048));
  return absl::OkStatus();
}

absl::Status ReadBlock(const JsonFields& fields, ModelConfig& config) {
  LCKV_ASSIGN_OR_RETURN(const double eps, fields.Number("rms_norm_eps", 1e-6));
  config.rms_norm_eps = static_cast<float>(eps);
  LCKV_ASSIGN_OR_RETURN(config.tied_embeddings, fields.Bool("tie_word_embeddings", false));
  LCKV_ASSIGN_OR_RETURN(config.attention_bias, fields.Bool("attention_bias", false));
  LCKV_ASSIGN_OR_RETURN(config.mlp_bias, fields.Bool("mlp_bias", false));
  LCKV_ASSIGN_OR_RETURN(const std::string activation, fields.String("hidden_act", "silu"));
  if (activation != "silu") return Unsupported("hidden_act", activation);
  LCKV_ASSIGN_OR_RETURN(const double rotated, fields.Number("partial_rotary_factor", 1.0));
  if (rotated != 1.0) return Unsupported("partial_rotary_factor", absl::StrCat(rotated));
  if (fields.Find("quantization_config") != nullptr) {
    return Unsupported("quantization_config", "{…}");
  }
  return absl::OkStatus();
}

// `rope_scaling`, with "type" as the older name of "rope_type"; newer files call the object
// `rope_parameters` and keep rope_theta in it.
absl::Status ReadRope(const JsonFields& fields, ModelConfig& config) {
  LCKV_ASSIGN_OR_RETURN(config.rope_theta, fields.Number("rope_theta", 10000));
  absl::string_view name = "rope_scaling";
  const json* object = fields.Find(name);
  if (object == nullptr) {
    name = "rope_parameters";
    object = fields.Find(name);
  }
  if (object == nullptr) return absl::OkStatus();
  if (!object->is_object()) return fields.Error(name, "not an object");

  const JsonFields rope(*object, absl::StrCat("config.json: ", name));
  LCKV_ASSIGN_OR_RETURN(config.rope_theta, rope.Number("rope_theta", config.rope_theta));
  LCKV_ASSIGN_OR_RETURN(const std::string legacy_kind, rope.String("type", "default"));
  LCKV_ASSIGN_OR_RETURN(const std::string kind, rope.String("rope_type", legacy_kind));
  if (kind == "default") return absl::OkStatus();

  RopeScaling& scaling = config.rope_scaling;
  if (kind == "linear") {
    scaling.kind = RopeScalingKind::kLinear;
  } else if (kind == "llama3") {
    scaling.kind = RopeScalingKind::kLlama3;
    LCKV_ASSIGN_OR_RETURN(scaling.low_freq_factor, rope.Number("low_freq_factor"));
    LCKV_ASSIGN_OR_RETURN(scaling.high_freq_factor, rope.Number("high_freq_factor"));
    LCKV_ASSIGN_OR_RETURN(
        scaling.original_max_positions,
        rope.Int("original_max_position_embeddings", 1, ModelConfig::kMaxPositions));
  } else {
    return Unsupported(absl::StrCat(name, ".rope_type"), kind);
  }
  LCKV_ASSIGN_OR_RETURN(scaling.factor, rope.Number("factor"));
  return absl::OkStatus();
}

absl::Status ReadLckvMap(const JsonFields& fields, ModelConfig& config) {
  LCKV_ASSIGN_OR_RETURN(const std::string map, fields.String("layer_types", ""));
  if (!map.empty()) {
    LCKV_RETURN_IF_ERROR(Annotate(config.OverrideLayerMap(map), "config.json: layer_types"));
  }
  LCKV_ASSIGN_OR_RETURN(config.force_nodiag, fields.Bool("force_nodiag", false));
  LCKV_ASSIGN_OR_RETURN(config.use_sequential, fields.Bool("use_sequential", false));
  LCKV_ASSIGN_OR_RETURN(
      config.sliding_window,
      SmallInt(fields, "sliding_window", 1, ModelConfig::kMaxPositions, config.sliding_window));
  LCKV_ASSIGN_OR_RETURN(
      config.forward_passes,
      SmallInt(fields, "forward_passes", 0, ModelConfig::kMaxPasses, config.forward_passes));
  LCKV_ASSIGN_OR_RETURN(
      config.backward_passes,
      SmallInt(fields, "backward_passes", 0, ModelConfig::kMaxPasses, config.backward_passes));
  return absl::OkStatus();
}

// b - 1. The deprecated train_last_encoder, "none", "encoder" or a count, wins where both are
// given.
absl::StatusOr<int> TrainedEncoders(const JsonFields& fields) {
  constexpr absl::string_view kDeprecated = "train_last_encoder";
  const json* value = fields.Find(kDeprecated);
  if (value == nullptr) {
    return SmallInt(fields, "num_trained_encoders", 0, ModelConfig::kMaxPasses, 1);
  }
  if (!value->is_string()) return SmallInt(fields, kDeprecated, 0, ModelConfig::kMaxPasses);
  const auto& text = value->get_ref<const std::string&>();
  int count = 0;
  if (text == "none") return 0;
  if (text == "encoder") return 1;
  if (absl::SimpleAtoi(text, &count) && count >= 0 && count <= ModelConfig::kMaxPasses) {
    return count;
  }
  return fields.Error(kDeprecated, "not \"none\", \"encoder\" or a small count");
}

// Layer types of the older format: 0 = own KV, 1 = the target's KV, 2 = the target.
absl::Status ReadOptLayerTypes(const JsonFields& fields, ModelConfig& config) {
  const int layers = config.num_layers;
  LCKV_ASSIGN_OR_RETURN(const std::string types, fields.String("layer_types", ""));
  LCKV_ASSIGN_OR_RETURN(int target, SmallInt(fields, "target_layer", -layers, layers - 1, -1));
  if (types.empty()) return absl::OkStatus();  // every layer has its own
  if (target < 0) target += layers;

  std::string map;
  int layer = 0;
  for (absl::string_view type : absl::StrSplit(types, '_')) {
    if (type != "0" && type != "1" && type != "2") {
      return fields.Error("layer_types", absl::StrCat("item ", layer, " is not 0, 1 or 2"));
    }
    if (type == "2" && layer != target) {
      return fields.Error("layer_types", absl::StrCat("layer ", layer, " has type 2, but layer ",
                                                      target, " is the target"));
    }
    absl::StrAppend(&map, layer == 0 ? "" : "_", type == "0" ? layer : target);
    if (++layer > layers) break;
  }
  return Annotate(config.OverrideLayerMap(map), "config.json: layer_types");
}

// The deprecated num_warmup_layers: so many layers with their own KV, the rest use the last one's.
absl::Status ReadWarmupLayers(const JsonFields& fields, ModelConfig& config) {
  const int last = config.num_layers - 1;
  LCKV_ASSIGN_OR_RETURN(const int warmup, SmallInt(fields, "num_warmup_layers", 0, last));
  std::string map;
  for (int layer = 0; layer <= last; ++layer) {
    absl::StrAppend(&map, layer == 0 ? "" : "_", layer < warmup ? layer : last);
  }
  return config.OverrideLayerMap(map);
}

absl::Status ReadOptMap(const JsonFields& fields, ModelConfig& config) {
  config.force_nodiag = true;
  LCKV_ASSIGN_OR_RETURN(const int trained, TrainedEncoders(fields));
  LCKV_ASSIGN_OR_RETURN(const int encoders,
                        SmallInt(fields, "num_encoders", 0, ModelConfig::kMaxPasses, 8));
  if (encoders < trained) {
    return fields.Error("num_encoders", absl::StrCat(encoders, ", fewer than the ", trained,
                                                     " of num_trained_encoders"));
  }
  config.forward_passes = encoders - trained;
  config.backward_passes = trained + 1;
  const bool deprecated = fields.Find("num_warmup_layers") != nullptr;
  return deprecated ? ReadWarmupLayers(fields, config) : ReadOptLayerTypes(fields, config);
}

absl::Status AddEosTokens(const JsonFields& fields, ModelConfig& config) {
  LCKV_ASSIGN_OR_RETURN(
      const std::vector<int64_t> tokens,
      fields.IntOrList("eos_token_id", 0, config.vocab_size - 1, ModelConfig::kMaxEosTokens));
  for (const int64_t token : tokens) {
    const int id = static_cast<int>(token);
    auto& known = config.eos_tokens;
    if (std::find(known.begin(), known.end(), id) == known.end()) known.push_back(id);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ModelConfig> ModelConfig::FromHfJson(absl::string_view config_json,
                                                    absl::string_view generation_json) {
  LCKV_ASSIGN_OR_RETURN(const json root, ParseJsonObject(config_json, "config.json"));
  const JsonFields fields(root, "config.json");
  ModelConfig config;
  LCKV_ASSIGN_OR_RETURN(config.architecture, fields.String("model_type"));
  const bool lckv = config.architecture == "lckv-llama";
  const bool opt = config.architecture == "opt-llama";
  if (!lckv && !opt && config.architecture != "llama") {
    return Unsupported("model_type", config.architecture);
  }
  LCKV_ASSIGN_OR_RETURN(config.name, fields.String("_name_or_path", ""));
  LCKV_RETURN_IF_ERROR(ReadShapes(fields, config));
  LCKV_RETURN_IF_ERROR(ReadBlock(fields, config));
  LCKV_RETURN_IF_ERROR(ReadRope(fields, config));
  config.layer_map = LayerMap::Identity(config.num_layers);
  if (lckv) LCKV_RETURN_IF_ERROR(ReadLckvMap(fields, config));
  if (opt) LCKV_RETURN_IF_ERROR(ReadOptMap(fields, config));
  LCKV_ASSIGN_OR_RETURN(config.bos_token,
                        SmallInt(fields, "bos_token_id", -1, config.vocab_size - 1, -1));
  LCKV_RETURN_IF_ERROR(AddEosTokens(fields, config));
  if (!generation_json.empty()) {
    LCKV_ASSIGN_OR_RETURN(const json generation,
                          ParseJsonObject(generation_json, "generation_config.json"));
    LCKV_RETURN_IF_ERROR(AddEosTokens(JsonFields(generation, "generation_config.json"), config));
  }
  LCKV_RETURN_IF_ERROR(config.Validate());
  return config;
}

}  // namespace lckv
