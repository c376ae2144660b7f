#include "engine/plan/model_work.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/units.h"
#include "engine/encode/segment.h"

namespace lckv {
namespace {

struct FormatName {
  WeightFormat format;
  const char* name;
};
constexpr FormatName kFormats[] = {{WeightFormat::kF32, "f32"},
                                   {WeightFormat::kBf16, "bf16"},
                                   {WeightFormat::kFp8, "fp8"},
                                   {WeightFormat::kInt8, "int8"},
                                   {WeightFormat::kInt4, "int4"}};

constexpr int64_t kFloatBytes = sizeof(float);

int64_t MatrixBytes(WeightFormat format, int64_t rows, int64_t cols) {
  switch (format) {
    case WeightFormat::kF32:
      return rows * BytesOf(DType::kF32, cols);
    case WeightFormat::kBf16:
      return rows * BytesOf(DType::kBf16, cols);
    case WeightFormat::kFp8:
      return rows * (cols + kFloatBytes);
    case WeightFormat::kInt8:
      return rows * BytesOf(DType::kQ8_0, cols);
    case WeightFormat::kInt4:
      return rows * BytesOf(DType::kQ4_1, cols);
  }
  return 0;
}

LayerSize SizeOfLayer(const ModelConfig& config, WeightFormat format, bool producer) {
  const int64_t hidden = config.hidden_size;
  const int64_t inner = config.intermediate_size;
  const int64_t query = int64_t{config.num_heads} * config.head_dim;
  const int64_t kv = int64_t{config.num_kv_heads} * config.head_dim;
  LayerSize size;
  size.block_parameters = 2 * query * hidden + 3 * inner * hidden;
  size.block_weight_bytes = MatrixBytes(format, query, hidden) + MatrixBytes(format, hidden, query);
  size.block_weight_bytes +=
      2 * MatrixBytes(format, inner, hidden) + MatrixBytes(format, hidden, inner);
  int64_t vector_values = 2 * hidden;
  if (config.attention_bias) vector_values += query + hidden;
  if (config.mlp_bias) vector_values += 2 * inner + hidden;
  size.block_weight_bytes += vector_values * kFloatBytes;
  if (!producer) return size;
  size.kv_parameters = 2 * kv * hidden;
  size.kv_weight_bytes = 2 * MatrixBytes(format, kv, hidden);
  if (config.attention_bias) size.kv_weight_bytes += 2 * kv * kFloatBytes;
  return size;
}

// 1 + 2 + … + n.
double Triangle(int64_t n) { return static_cast<double>(n) * static_cast<double>(n + 1) / 2; }

// The sum of min(k * step, limit) over k = first … last.
double SumLimited(int64_t first, int64_t last, int64_t step, int64_t limit) {
  if (last < first) return 0;
  const int64_t free = std::clamp(limit / step, first - 1, last);  // the last k below the limit
  return static_cast<double>(step) * (Triangle(free) - Triangle(first - 1)) +
         static_cast<double>(last - free) * static_cast<double>(limit);
}

}  // namespace

absl::StatusOr<WeightFormat> ParseWeightFormat(absl::string_view name) {
  for (const FormatName& known : kFormats) {
    if (name == known.name) return known.format;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("weight format \"", name, "\" is not f32, bf16, fp8, int8 or int4"));
}

absl::string_view Name(WeightFormat format) { return kFormats[static_cast<size_t>(format)].name; }

absl::Status CheckWeightFormat(const ModelConfig& config, WeightFormat format) {
  if (format != WeightFormat::kInt8 && format != WeightFormat::kInt4) return absl::OkStatus();
  for (const int64_t cols : {int64_t{config.hidden_size}, int64_t{config.intermediate_size},
                             int64_t{config.num_heads} * config.head_dim}) {
    if (cols % kQuantBlock == 0) continue;
    return absl::InvalidArgumentError(absl::StrCat("weight format ", Name(format), ": rows of ",
                                                   cols, " values are no multiple of ",
                                                   kQuantBlock));
  }
  return absl::OkStatus();
}

int64_t ModelSize::weight_bytes() const {
  int64_t bytes = embedding_bytes + (tied ? 0 : head_bytes) + other_bytes + layer0_table_bytes;
  for (const LayerSize& layer : layers) bytes += layer.weight_bytes();
  return bytes;
}

ModelSize SizeOf(const ModelConfig& config, WeightFormat format, int max_context) {
  ModelSize size;
  for (int layer = 0; layer < config.num_layers; ++layer) {
    size.layers.push_back(SizeOfLayer(config, format, config.layer_map.is_producer(layer)));
  }
  size.embedding_bytes = MatrixBytes(format, config.vocab_size, config.hidden_size);
  size.head_bytes = size.embedding_bytes;
  size.head_parameters = int64_t{config.vocab_size} * config.hidden_size;
  size.tied = config.tied_embeddings;
  size.other_bytes = (config.hidden_size + int64_t{max_context} * config.head_dim) * kFloatBytes;
  return size;
}

Work& Work::operator+=(const Work& other) {
  linear_flops += other.linear_flops;
  attention_flops += other.attention_flops;
  device_bytes += other.device_bytes;
  host_link_bytes += other.host_link_bytes;
  return *this;
}

Work Work::Times(double factor) const {
  return {linear_flops * factor, attention_flops * factor, device_bytes * factor,
          host_link_bytes * factor};
}

absl::string_view Name(Bound bound) {
  switch (bound) {
    case Bound::kMemory:
      return "memory";
    case Bound::kCompute:
      return "compute";
    case Bound::kHostLink:
      return "host link";
  }
  return "";
}

double LinearPeak(const DeviceSpec& device, WeightFormat format) {
  if (format == WeightFormat::kFp8) return device.fp8_flops;
  return format == WeightFormat::kF32 ? device.f32_flops : device.bf16_flops;
}

Roofline RooflineOf(const Work& work, const DeviceSpec& device, WeightFormat format) {
  const double attention_peak = format == WeightFormat::kF32 ? device.f32_flops : device.bf16_flops;
  const double memory = work.device_bytes / device.memory_bytes_per_second;
  const double compute =
      work.linear_flops / LinearPeak(device, format) + work.attention_flops / attention_peak;
  const double link = work.host_link_bytes / device.host_link_bytes_per_second;
  Roofline roofline{memory, Bound::kMemory};
  if (compute > roofline.seconds) roofline = {compute, Bound::kCompute};
  if (link > roofline.seconds) roofline = {link, Bound::kHostLink};
  return roofline;
}

ModelWork::ModelWork(const ModelConfig* config, const PageLayout* layout, ModelSize size,
                     const Options& options)
    : config_(config),
      layout_(layout),
      size_(std::move(size)),
      options_(options),
      last_producer_(config->layer_map.producers().back()) {
  LCKV_CHECK(options.step_tokens > 0);
  if (options_.passes == 0) options_.passes = config->default_passes();
  // (If layer 0 streams, it comes with the K/V projections that the table replaces.)
  if (size_.layer0_table_bytes > 0 && !Streamed(0)) {
    size_.layers[0].kv_parameters = 0;
    size_.layers[0].kv_weight_bytes = 0;
    looked_up_bytes_ = static_cast<double>(size_.layer0_table_bytes / config->vocab_size);
  }
  for (const LayerRun& run : config->layer_map.runs()) {
    int top = -1;
    for (int layer = run.begin; layer < run.end; ++layer) {
      if (run.cyclic && config->layer_map.is_upward_target(layer)) top = layer;
    }
    run_of_.insert(run_of_.end(), static_cast<size_t>(run.end - run.begin), run);
    top_target_.insert(top_target_.end(), static_cast<size_t>(run.end - run.begin), top);
  }
}

int64_t ModelWork::TopKeys(int layer) const {
  if (!config_->layer_map.windowed(layer)) return ModelConfig::kMaxPositions;
  return config_->sliding_window - (config_->nodiag(layer) ? 1 : 0);
}

int64_t ModelWork::VisibleKeys(int layer, int64_t position) const {
  return std::min(position + (config_->nodiag(layer) ? 0 : 1), TopKeys(layer));
}

double ModelWork::SumVisible(int layer, int64_t begin, int64_t end) const {
  const int64_t own = config_->nodiag(layer) ? 0 : 1;
  return SumLimited(begin + own, end - 1 + own, 1, TopKeys(layer));
}

double ModelWork::SumRead(int layer, int64_t begin, int64_t end, int64_t chunk) const {
  // A chunk that ends at e reads what its positions see: e keys, or a window and the chunk itself.
  const int64_t limit = std::min(ModelConfig::kMaxPositions, TopKeys(layer) + chunk);
  const int64_t chunks = CeilDiv(end - begin, chunk);
  const int64_t whole = begin / chunk;  // chunks before the first, as if they were of one size
  return SumLimited(whole + 1, whole + chunks - 1, chunk, limit) +
         static_cast<double>(std::min(end, limit));
}

double ModelWork::KvBytes(int layer) const {
  const ProducerLayout& producer = *layout_->FindLayer(layer);
  return static_cast<double>(
      2 * BytesOf(layout_->dtype(), int64_t{producer.kv_heads} * producer.head_dim));
}

Work ModelWork::DecodeStep(int64_t batch, int64_t position) const {
  const LayerMap& map = config_->layer_map;
  const double query = static_cast<double>(config_->num_heads) * config_->head_dim;
  Work one;  // of one sequence
  double weight_bytes = static_cast<double>(size_.head_bytes);
  double streamed_bytes = 0;
  std::vector<double> read_bytes(size_.layers.size());  // by producer, where read once together
  for (int layer = 0; layer < config_->num_layers; ++layer) {
    const LayerSize& size = size_.layers[static_cast<size_t>(layer)];
    const auto keys = static_cast<double>(VisibleKeys(layer, position));
    one.linear_flops += 2 * static_cast<double>(size.kv_parameters + size.block_parameters);
    one.attention_flops += 4 * query * keys;
    double& read = read_bytes[static_cast<size_t>(map.source(layer))];
    const double bytes = keys * KvBytes(map.source(layer));
    read = options_.shared_kv_once ? std::max(read, bytes) : read + bytes;
    weight_bytes += static_cast<double>(size.weight_bytes());
    if (Streamed(layer)) streamed_bytes += static_cast<double>(size.weight_bytes());
  }
  one.linear_flops += 2 * static_cast<double>(size_.head_parameters);
  for (const double bytes : read_bytes) one.device_bytes += bytes;
  one.device_bytes += looked_up_bytes_;
  one.device_bytes += static_cast<double>(layout_->bytes_per_token());  // written
  Work work = one.Times(static_cast<double>(batch));
  work.device_bytes += weight_bytes;
  work.host_link_bytes = streamed_bytes;
  return work;
}

ModelWork::LayerPasses ModelWork::PassesOf(int layer, int32_t segment_tokens) const {
  const auto index = static_cast<size_t>(layer);
  LayerPasses passes;
  if (run_of_[index].cyclic) {
    const int32_t all = std::min(segment_tokens, options_.passes);
    passes.kv = layer <= top_target_[index] ? all : 1;
    passes.block = layer < top_target_[index] ? all : 1;
  }
  // Draft passes of the last producer's own block have ended at its K/V, the last one drops here.
  if (layer >= last_producer_) passes.block = 0;
  return passes;
}

Work ModelWork::EncodeSegments(int64_t prompts, int64_t begin, int64_t end,
                               int32_t segment_tokens) const {
  const LayerMap& map = config_->layer_map;
  const double query = static_cast<double>(config_->num_heads) * config_->head_dim;
  const auto rows = static_cast<double>(prompts * (end - begin));
  const auto steps = static_cast<double>(CeilDiv(prompts * (end - begin), options_.step_tokens));
  const int64_t chunk = std::min<int64_t>(segment_tokens, options_.step_tokens);
  const auto sequences = static_cast<double>(prompts);
  Work work;
  for (int layer = 0; layer < config_->num_layers; ++layer) {
    const LayerSize& size = size_.layers[static_cast<size_t>(layer)];
    const LayerPasses passes = PassesOf(layer, segment_tokens);
    work.linear_flops += 2 * rows * passes.kv * static_cast<double>(size.kv_parameters);
    work.linear_flops += 2 * rows * passes.block * static_cast<double>(size.block_parameters);
    work.attention_flops += sequences * passes.block * 4 * query * SumVisible(layer, begin, end);
    const double weight_bytes =
        steps * (passes.kv * static_cast<double>(size.kv_weight_bytes) +
                 passes.block * static_cast<double>(size.block_weight_bytes));
    work.device_bytes += weight_bytes;
    if (Streamed(layer)) work.host_link_bytes += weight_bytes;
    work.device_bytes +=
        sequences * passes.block * SumRead(layer, begin, end, chunk) * KvBytes(map.source(layer));
    if (map.is_producer(layer)) work.device_bytes += rows * passes.kv * KvBytes(layer);  // written
    if (layer == 0) work.device_bytes += rows * passes.kv * looked_up_bytes_;
  }
  return work;
}

Work ModelWork::Encode(int64_t prompts, int64_t tokens) const {
  LCKV_CHECK(prompts > 0 && tokens > 0);
  const int64_t whole = tokens / kMaxSegmentTokens * kMaxSegmentTokens;
  Work work;
  if (whole > 0) work += EncodeSegments(prompts, 0, whole, kMaxSegmentTokens);
  if (whole < tokens) {
    work += EncodeSegments(prompts, whole, tokens, static_cast<int32_t>(tokens - whole));
  }
  // The last token of each prompt goes on to the logits, one step's prompts together.
  const double query = static_cast<double>(config_->num_heads) * config_->head_dim;
  const auto sequences = static_cast<double>(prompts);
  const auto steps =
      static_cast<double>(std::min(prompts, CeilDiv(prompts * tokens, options_.step_tokens)));
  for (int layer = last_producer_; layer < config_->num_layers; ++layer) {
    const LayerSize& size = size_.layers[static_cast<size_t>(layer)];
    const auto keys = static_cast<double>(VisibleKeys(layer, tokens - 1));
    work.linear_flops += sequences * 2 * static_cast<double>(size.block_parameters);
    work.attention_flops += sequences * 4 * query * keys;
    const double weight_bytes = steps * static_cast<double>(size.block_weight_bytes);
    work.device_bytes +=
        weight_bytes + sequences * keys * KvBytes(config_->layer_map.source(layer));
    if (Streamed(layer)) work.host_link_bytes += weight_bytes;
  }
  work.linear_flops += sequences * 2 * static_cast<double>(size_.head_parameters);
  work.device_bytes += steps * static_cast<double>(size_.head_bytes);
  return work;
}

}  // namespace lckv
