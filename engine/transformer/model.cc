#include "engine/transformer/model.h"

#include <cmath>
#include <optional>
#include <set>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"

namespace lckv {
namespace {

absl::StatusOr<std::optional<DType>> ResolveFormat(absl::string_view name, const Backend& backend) {
  if (name.empty() || name == "auto") return std::optional<DType>();
  if (name == "int8") return std::optional<DType>(backend.int8_format());
  if (name == "int4") return std::optional<DType>(DType::kQ4_1);
  LCKV_ASSIGN_OR_RETURN(const DType dtype, ParseDType(name));
  return std::optional<DType>(dtype);
}

std::vector<float> RotaryTable(const ModelConfig& config, int max_context) {
  const std::vector<double> frequencies = RopeInverseFrequencies(config);
  const size_t half = frequencies.size();
  std::vector<float> table(static_cast<size_t>(max_context) * 2 * half);
  for (int position = 0; position < max_context; ++position) {
    float* row = table.data() + static_cast<size_t>(position) * 2 * half;
    for (size_t i = 0; i < half; ++i) {
      const double angle = position * frequencies[i];
      row[i] = static_cast<float>(std::cos(angle));
      row[half + i] = static_cast<float>(std::sin(angle));
    }
  }
  return table;
}

}  // namespace

// Copies tensors to the backend one by one, summing up what they take.
class Model::Loader {
 public:
  Loader(Model* model, std::optional<DType> format) : model_(model), format_(format) {}

  absl::StatusOr<std::unique_ptr<LinearWeight>> Matrix(const HostMatrix& matrix) {
    Backend& backend = *model_->backend_;
    LCKV_ASSIGN_OR_RETURN(
        auto weight,
        backend.PrepareLinear(matrix, format_.value_or(backend.DefaultFormat(matrix.dtype))));
    model_->weight_bytes_ += static_cast<int64_t>(weight->size_bytes());
    formats_.insert(std::string(Name(weight->dtype())));
    return weight;
  }

  // A vector as float32; an absent one gives an empty buffer.
  absl::StatusOr<DeviceBuffer> Vector(const HostMatrix& vector) {
    if (vector.data == nullptr) return DeviceBuffer();
    std::vector<float> values(static_cast<size_t>(vector.cols));
    DequantizeRow(vector, 0, values.data());
    return Floats(values);
  }

  absl::StatusOr<DeviceBuffer> Floats(const std::vector<float>& values) {
    const size_t size_bytes = values.size() * sizeof(float);
    LCKV_ASSIGN_OR_RETURN(DeviceBuffer buffer, model_->backend_->Allocate(size_bytes));
    model_->backend_->CopyToDevice(buffer.data(), values.data(), size_bytes);
    model_->weight_bytes_ += static_cast<int64_t>(size_bytes);
    return buffer;
  }

  absl::Status Layer(const LayerTensors& from, bool producer, LayerWeights& to) {
    LCKV_ASSIGN_OR_RETURN(to.input_norm, Vector(from.input_norm));
    LCKV_ASSIGN_OR_RETURN(to.post_attention_norm, Vector(from.post_attention_norm));
    LCKV_ASSIGN_OR_RETURN(to.q, Matrix(from.q_proj));
    LCKV_ASSIGN_OR_RETURN(to.o, Matrix(from.o_proj));
    if (producer) {
      LCKV_ASSIGN_OR_RETURN(to.k, Matrix(from.k_proj));
      LCKV_ASSIGN_OR_RETURN(to.v, Matrix(from.v_proj));
      LCKV_ASSIGN_OR_RETURN(to.k_bias, Vector(from.k_bias));
      LCKV_ASSIGN_OR_RETURN(to.v_bias, Vector(from.v_bias));
    }
    LCKV_ASSIGN_OR_RETURN(to.gate, Matrix(from.gate_proj));
    LCKV_ASSIGN_OR_RETURN(to.up, Matrix(from.up_proj));
    LCKV_ASSIGN_OR_RETURN(to.down, Matrix(from.down_proj));
    LCKV_ASSIGN_OR_RETURN(to.q_bias, Vector(from.q_bias));
    LCKV_ASSIGN_OR_RETURN(to.o_bias, Vector(from.o_bias));
    LCKV_ASSIGN_OR_RETURN(to.gate_bias, Vector(from.gate_bias));
    LCKV_ASSIGN_OR_RETURN(to.up_bias, Vector(from.up_bias));
    LCKV_ASSIGN_OR_RETURN(to.down_bias, Vector(from.down_bias));
    return absl::OkStatus();
  }

  std::string formats() const { return absl::StrJoin(formats_, "+"); }

 private:
  Model* model_;
  std::optional<DType> format_;
  std::set<std::string> formats_;
};

absl::StatusOr<std::unique_ptr<Model>> Model::Load(const Checkpoint& checkpoint, Backend* backend,
                                                   absl::string_view weight_format,
                                                   int max_context) {
  LCKV_ASSIGN_OR_RETURN(const std::optional<DType> format, ResolveFormat(weight_format, *backend));
  auto model = std::make_unique<Model>();
  model->config_ = checkpoint.config();
  model->backend_ = backend;
  model->max_context_ = max_context;
  const ModelConfig& config = model->config_;
  const ModelTensors& tensors = checkpoint.tensors();
  Loader loader(model.get(), format);
  LCKV_ASSIGN_OR_RETURN(model->embedding_, loader.Matrix(tensors.embedding));
  if (tensors.lm_head.data != tensors.embedding.data) {
    LCKV_ASSIGN_OR_RETURN(model->lm_head_, loader.Matrix(tensors.lm_head));
  }
  LCKV_ASSIGN_OR_RETURN(model->final_norm_, loader.Vector(tensors.final_norm));
  LCKV_ASSIGN_OR_RETURN(model->cos_sin_, loader.Floats(RotaryTable(config, max_context)));
  model->layers_.resize(static_cast<size_t>(config.num_layers));
  for (int layer = 0; layer < config.num_layers; ++layer) {
    const auto index = static_cast<size_t>(layer);
    LCKV_RETURN_IF_ERROR(
        Annotate(loader.Layer(tensors.layers[index], config.layer_map.is_producer(layer),
                              model->layers_[index]),
                 absl::StrCat("layer ", layer)));
  }
  model->weight_formats_ = loader.formats();
  return model;
}

absl::StatusOr<PageLayout> MakePageLayout(const ModelConfig& config, DType kv_dtype,
                                          int tokens_per_page) {
  std::vector<PageLayout::Producer> producers;
  for (int layer : config.layer_map.producers()) {
    producers.push_back({layer, config.num_kv_heads, config.head_dim});
  }
  return PageLayout::Create(producers, kv_dtype, tokens_per_page);
}

}  // namespace lckv
