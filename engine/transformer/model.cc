#include "engine/transformer/model.h"

#include <algorithm>
#include <cmath>
#include <numeric>
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

DType FormatOf(const HostMatrix& matrix, const std::optional<DType>& format,
               const Backend& backend) {
  return format.value_or(backend.DefaultFormat(matrix.dtype));
}

// Where a layer's tensors come from and go to.
struct Norm {
  HostMatrix LayerTensors::*from;
  DeviceBuffer LayerWeights::*to;
};
constexpr Norm kNorms[] = {
    {&LayerTensors::input_norm, &LayerWeights::input_norm},
    {&LayerTensors::post_attention_norm, &LayerWeights::post_attention_norm},
};
struct Product {
  HostMatrix LayerTensors::*from;
  HostMatrix LayerTensors::*bias_from;
  std::unique_ptr<LinearWeight> LayerWeights::*to;
  DeviceBuffer LayerWeights::*bias_to;
  bool of_producers;
};
constexpr Product kProducts[] = {
    {&LayerTensors::q_proj, &LayerTensors::q_bias, &LayerWeights::q, &LayerWeights::q_bias, false},
    {&LayerTensors::k_proj, &LayerTensors::k_bias, &LayerWeights::k, &LayerWeights::k_bias, true},
    {&LayerTensors::v_proj, &LayerTensors::v_bias, &LayerWeights::v, &LayerWeights::v_bias, true},
    {&LayerTensors::o_proj, &LayerTensors::o_bias, &LayerWeights::o, &LayerWeights::o_bias, false},
    {&LayerTensors::gate_proj, &LayerTensors::gate_bias, &LayerWeights::gate,
     &LayerWeights::gate_bias, false},
    {&LayerTensors::up_proj, &LayerTensors::up_bias, &LayerWeights::up, &LayerWeights::up_bias,
     false},
    {&LayerTensors::down_proj, &LayerTensors::down_bias, &LayerWeights::down,
     &LayerWeights::down_bias, false},
};

}  // namespace

// Copies tensors to the backend one by one, summing up what they take.
class Model::Loader {
 public:
  Loader(Model* model, std::optional<DType> format) : model_(model), format_(format) {}

  absl::StatusOr<std::unique_ptr<LinearWeight>> Matrix(const HostMatrix& matrix) {
    return Matrix(matrix, kResident);
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

  absl::Status Layer(int index, const LayerTensors& from, LayerWeights& to) {
    const int group = index - model_->device_layers_;  // below 0: kResident
    for (const Norm& norm : kNorms) {
      LCKV_ASSIGN_OR_RETURN(to.*norm.to, Vector(from.*norm.from));
    }
    const bool producer = model_->config_.layer_map.is_producer(index);
    for (const Product& product : kProducts) {
      if (product.of_producers && !producer) continue;
      LCKV_ASSIGN_OR_RETURN(to.*product.to, Matrix(from.*product.from, std::max(group, kResident)));
      LCKV_ASSIGN_OR_RETURN(to.*product.bias_to, Vector(from.*product.bias_from));
    }
    return absl::OkStatus();
  }

  std::string formats() const { return absl::StrJoin(formats_, "+"); }

 private:
  static constexpr int kResident = -1;

  absl::StatusOr<std::unique_ptr<LinearWeight>> Matrix(const HostMatrix& matrix, int group) {
    Backend& backend = *model_->backend_;
    const DType format = FormatOf(matrix, format_, backend);
    const bool resident = group == kResident;
    LCKV_ASSIGN_OR_RETURN(
        auto weight, resident
                         ? backend.PrepareLinear(matrix, format)
                         : backend.PrepareStreamed(matrix, format, model_->stream_.get(), group));
    (resident ? model_->weight_bytes_ : model_->host_weight_bytes_) +=
        static_cast<int64_t>(weight->size_bytes());
    formats_.insert(std::string(Name(weight->dtype())));
    return weight;
  }

  Model* model_;
  std::optional<DType> format_;
  std::set<std::string> formats_;
};

absl::StatusOr<WeightFootprint> Model::Measure(const Checkpoint& checkpoint, const Backend& backend,
                                               absl::string_view weight_format, int max_context,
                                               Layer0Table table) {
  LCKV_ASSIGN_OR_RETURN(const std::optional<DType> format, ResolveFormat(weight_format, backend));
  const ModelConfig& config = checkpoint.config();
  const ModelTensors& tensors = checkpoint.tensors();
  const auto matrix_bytes = [&](const HostMatrix& matrix) {
    return backend.LinearBytes(matrix.rows, matrix.cols, FormatOf(matrix, format, backend));
  };
  const auto vector_bytes = [](const HostMatrix& vector) {
    return vector.data == nullptr ? 0 : vector.cols * int64_t{sizeof(float)};
  };
  WeightFootprint footprint;
  footprint.other_bytes = matrix_bytes(tensors.embedding) + vector_bytes(tensors.final_norm) +
                          int64_t{max_context} * config.head_dim * int64_t{sizeof(float)};
  if (tensors.lm_head.data != tensors.embedding.data) {
    footprint.other_bytes += matrix_bytes(tensors.lm_head);
  }
  for (int layer = 0; layer < config.num_layers; ++layer) {
    const LayerTensors& from = tensors.layers[static_cast<size_t>(layer)];
    const bool producer = config.layer_map.is_producer(layer);
    int64_t bytes = 0;
    for (const Product& product : kProducts) {
      if (product.of_producers && !producer) continue;
      bytes += matrix_bytes(from.*product.from);
      footprint.other_bytes += vector_bytes(from.*product.bias_from);
    }
    for (const Norm& norm : kNorms) footprint.other_bytes += vector_bytes(from.*norm.from);
    footprint.layer_bytes.push_back(bytes);
  }
  LCKV_ASSIGN_OR_RETURN(
      footprint.layer0_table_bytes,
      PlanLayer0Table(config, table, backend.memory_is_host(),
                      std::accumulate(footprint.layer_bytes.begin(), footprint.layer_bytes.end(),
                                      footprint.other_bytes)));
  footprint.other_bytes += footprint.layer0_table_bytes;
  return footprint;
}

absl::StatusOr<std::unique_ptr<Model>> Model::Load(const Checkpoint& checkpoint, Backend* backend,
                                                   absl::string_view weight_format, int max_context,
                                                   int device_layers, Layer0Table table) {
  LCKV_ASSIGN_OR_RETURN(const std::optional<DType> format, ResolveFormat(weight_format, *backend));
  auto model = std::make_unique<Model>();
  model->config_ = checkpoint.config();
  model->backend_ = backend;
  model->max_context_ = max_context;
  const ModelConfig& config = model->config_;
  model->device_layers_ = std::clamp(device_layers, 0, config.num_layers);
  LCKV_ASSIGN_OR_RETURN(const WeightFootprint footprint,
                        Measure(checkpoint, *backend, weight_format, max_context, table));
  if (model->device_layers_ < config.num_layers) {
    LCKV_ASSIGN_OR_RETURN(
        model->stream_,
        backend->MakeWeightStream(absl::MakeSpan(footprint.layer_bytes)
                                      .subspan(static_cast<size_t>(model->device_layers_))));
  }
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
    LCKV_RETURN_IF_ERROR(Annotate(loader.Layer(layer, tensors.layers[index], model->layers_[index]),
                                  absl::StrCat("layer ", layer)));
  }
  model->weight_formats_ = loader.formats();
  if (footprint.layer0_table_bytes > 0) LCKV_RETURN_IF_ERROR(model->MakeLayer0Table());
  return model;
}

absl::Status Model::MakeLayer0Table() {
  constexpr int32_t kRows = 256;  // at once
  const LayerWeights& layer = layers_.front();
  const int64_t kv_size = layer.k->out_features();
  const int32_t hidden_size = config_.hidden_size;
  const DType dtype = backend_->activation_dtype();
  const auto half_bytes = static_cast<size_t>(Layer0TableBytes(config_) / 2);
  LCKV_ASSIGN_OR_RETURN(layer0_k_, backend_->Allocate(half_bytes));
  LCKV_ASSIGN_OR_RETURN(layer0_v_, backend_->Allocate(half_bytes));
  weight_bytes_ += Layer0TableBytes(config_);

  std::vector<int32_t> ids(static_cast<size_t>(config_.vocab_size));
  std::iota(ids.begin(), ids.end(), 0);
  const int64_t values = int64_t{kRows} * hidden_size;
  LCKV_ASSIGN_OR_RETURN(const DeviceBuffer tokens,
                        backend_->Allocate(ids.size() * sizeof(int32_t)));
  LCKV_ASSIGN_OR_RETURN(const DeviceBuffer hidden,
                        backend_->Allocate(static_cast<size_t>(BytesOf(DType::kF32, values))));
  LCKV_ASSIGN_OR_RETURN(const DeviceBuffer normed,
                        backend_->Allocate(static_cast<size_t>(BytesOf(dtype, values))));
  backend_->CopyToDevice(tokens.data(), ids.data(), ids.size() * sizeof(int32_t));
  const Activations x(normed.data(), dtype);
  for (int32_t begin = 0; begin < config_.vocab_size; begin += kRows) {
    const int32_t rows = std::min(kRows, config_.vocab_size - begin);
    backend_->Embed({embedding_.get(), tokens.ints() + begin, rows, hidden.floats()});
    backend_->RmsNorm(
        {hidden.floats(), layer.input_norm.floats(), config_.rms_norm_eps, rows, hidden_size, x});
    backend_->Linear({layer.k.get(), x, layer.k_bias.floats(), rows, false,
                      layer0_k_.floats() + begin * kv_size});
    backend_->Linear({layer.v.get(), x, layer.v_bias.floats(), rows, false,
                      layer0_v_.floats() + begin * kv_size});
  }
  return backend_->Synchronize();
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
