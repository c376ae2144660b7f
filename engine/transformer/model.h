#pragma once

#include <climits>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/kv/page_layout.h"
#include "engine/model/checkpoint.h"
#include "engine/ops/backend.h"
#include "engine/transformer/layer0_table.h"

namespace lckv {

// One block's weights in the backend's memory. Empty biases mean none; k and v are null for layers
// that produce no KV.
struct LayerWeights {
  DeviceBuffer input_norm, post_attention_norm;
  std::unique_ptr<LinearWeight> q, k, v, o, gate, up, down;
  DeviceBuffer q_bias, k_bias, v_bias, o_bias, gate_bias, up_bias, down_bias;
};

// What a model's weights take in a backend's memory, in bytes.
struct WeightFootprint {
  int64_t other_bytes = 0;  // embedding, head, norms, biases, rotary and layer 0's table: always
                            // there
  int64_t layer0_table_bytes = 0;    // of those
  std::vector<int64_t> layer_bytes;  // matrices of each layer
};

// A checkpoint's weights, ready to run on a backend. Immutable; must die before the backend.
class Model {
 public:
  static constexpr int kAllLayers = INT_MAX;

  // `weight_format`: "" or "auto" keeps each matrix as the backend likes it best; otherwise every
  // matrix is converted: a DType name, "int8" (q8_0, on a GPU i8), "int4" (q4_1). `max_context`
  // bounds positions. The matrices of layers from `device_layers` on stay in host memory and come
  // in every step (WeightStream); no bit depends on it. INVALID_ARGUMENT (format; fewer layers than
  // all on a device that computes in host memory; a table that cannot be), RESOURCE_EXHAUSTED.
  static absl::StatusOr<std::unique_ptr<Model>> Load(const Checkpoint& checkpoint, Backend* backend,
                                                     absl::string_view weight_format,
                                                     int max_context,
                                                     int device_layers = kAllLayers,
                                                     Layer0Table table = Layer0Table::kAuto);
  // What Load would take, with all layers. INVALID_ARGUMENT as of Load.
  static absl::StatusOr<WeightFootprint> Measure(const Checkpoint& checkpoint,
                                                 const Backend& backend,
                                                 absl::string_view weight_format, int max_context,
                                                 Layer0Table table = Layer0Table::kAuto);

  const ModelConfig& config() const { return config_; }
  Backend& backend() const { return *backend_; }
  const LayerWeights& layer(int index) const { return layers_[static_cast<size_t>(index)]; }
  const LinearWeight& embedding() const { return *embedding_; }
  const LinearWeight& lm_head() const { return lm_head_ != nullptr ? *lm_head_ : *embedding_; }
  const DeviceBuffer& final_norm() const { return final_norm_; }
  // [max_context][head_dim]: cos of the head_dim / 2 angles, then their sines.
  const DeviceBuffer& cos_sin() const { return cos_sin_; }
  // Layer 0's K before rotation, and its V, by token id: [vocab][kv_heads][head_dim]; null without
  // such a table.
  const float* layer0_k() const { return layer0_k_.floats(); }
  const float* layer0_v() const { return layer0_v_.floats(); }
  // Positions that cos_sin() covers.
  int max_context() const { return max_context_; }
  // In the backend's memory; without the windows of layers that stream.
  int64_t weight_bytes() const { return weight_bytes_; }
  // Layers [0, device_layers()) lie in the backend's memory, the others in the host's.
  int device_layers() const { return device_layers_; }
  int64_t host_weight_bytes() const { return host_weight_bytes_; }
  // "q4_1+q8_0", for people and the numerics class.
  const std::string& weight_formats() const { return weight_formats_; }

 private:
  class Loader;

  absl::Status MakeLayer0Table();

  ModelConfig config_;
  Backend* backend_ = nullptr;
  std::unique_ptr<WeightStream> stream_;  // of layers from device_layers_ on; before their weights
  std::vector<LayerWeights> layers_;
  std::unique_ptr<LinearWeight> embedding_, lm_head_;
  DeviceBuffer final_norm_, cos_sin_;
  DeviceBuffer layer0_k_, layer0_v_;
  int max_context_ = 0;
  int64_t weight_bytes_ = 0;
  int64_t host_weight_bytes_ = 0;
  int device_layers_ = 0;
  std::string weight_formats_;
};

// The KV page layout of a model: its producers in layer order.
absl::StatusOr<PageLayout> MakePageLayout(const ModelConfig& config, DType kv_dtype,
                                          int tokens_per_page);

}  // namespace lckv
