#include "engine/plan/plan.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/units.h"
#include "engine/encode/segment.h"
#include "engine/transformer/model.h"
#include "engine/transformer/step_memory.h"

namespace lckv {
namespace {

constexpr int64_t kFloatBytes = sizeof(float);
constexpr int64_t kMaxBatch = int64_t{1} << 20;
constexpr int64_t kMaxCrossoverTokens = int64_t{1} << 20;
constexpr int64_t kStreamBuffers = 2;  // one layer computes while the next one arrives

absl::Status CheckDevice(const DeviceSpec& device, WeightFormat weights) {
  const auto positive = [](double value, const char* what) {
    if (value > 0) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat("device: ", what, " must be positive"));
  };
  LCKV_RETURN_IF_ERROR(positive(static_cast<double>(device.memory_bytes), "memory"));
  LCKV_RETURN_IF_ERROR(positive(device.memory_bytes_per_second, "memory bandwidth"));
  LCKV_RETURN_IF_ERROR(positive(device.host_link_bytes_per_second, "host link bandwidth"));
  LCKV_RETURN_IF_ERROR(positive(device.bf16_flops, "bf16 FLOP/s"));
  LCKV_RETURN_IF_ERROR(positive(device.f32_flops, "f32 FLOP/s"));
  if (weights == WeightFormat::kFp8 && !(device.fp8_flops > 0)) {
    return absl::InvalidArgumentError(
        absl::StrCat("weights: ", device.name, " has no fp8 products"));
  }
  return absl::OkStatus();
}

absl::Status CheckRequest(const ModelConfig& config, const PlanRequest& request) {
  const auto error = [](const auto&... parts) {
    return absl::InvalidArgumentError(absl::StrCat(parts...));
  };
  if (request.prompt_tokens < 1 || request.generated_tokens < 0) {
    return error("context: ", request.prompt_tokens, " + ", request.generated_tokens, " tokens");
  }
  if (request.prompt_tokens > config.max_positions ||
      request.generated_tokens > config.max_positions - request.prompt_tokens) {
    return error("context: ", request.prompt_tokens, " + ", request.generated_tokens,
                 " tokens, but the model has ", config.max_positions, " positions");
  }
  if (request.passes < 0 || request.passes > kMaxPasses) {
    return error("passes: ", request.passes, " is outside [0, ", kMaxPasses, "]");
  }
  if (request.device_layers != PlanRequest::kAutoLayers &&
      (request.device_layers < 0 || request.device_layers > config.num_layers)) {
    return error("device layers: ", request.device_layers, ", but the model has ",
                 config.num_layers, " layers");
  }
  if (request.step_tokens < 1 || request.encode_slots < 1 || request.running_turns < 1) {
    return error("step tokens, encode slots and running turns must be positive");
  }
  if (request.reserved_bytes < 0) return error("reserved memory: negative");
  if (!(request.link_bytes_per_second > 0)) return error("link bandwidth must be positive");
  return CheckWeightFormat(config, request.weights);
}

// The plan of one model on one device, step by step.
class Planner {
 public:
  Planner(const ModelConfig& config, const DeviceSpec& device, const PlanRequest& request,
          PageLayout layout, ModelSize size)
      : config_(config),
        device_(device),
        request_(request),
        layout_(std::move(layout)),
        context_(request.prompt_tokens + request.generated_tokens),
        size_(std::move(size)),
        session_bytes_(layout_.PagesFor(context_) * layout_.page_bytes()) {}

  absl::StatusOr<Plan> Run() {
    LCKV_ASSIGN_OR_RETURN(const int layers, ChooseLayers());
    Plan plan;
    plan.context_tokens = context_;
    plan.passes = request_.passes > 0 && config_.layer_map.cyclic() ? request_.passes
                                                                    : config_.default_passes();
    plan.device_layers = layers;
    plan.kv_bytes_per_token = layout_.bytes_per_token();
    plan.page_bytes = layout_.page_bytes();
    plan.session_bytes = session_bytes_;
    plan.weight_bytes = size_.weight_bytes();
    plan.largest_batch = LargestBatch(layers);
    plan.memory = MemoryAt(layers, plan.largest_batch);
    plan.hot_sessions = HotSessions(layers, plan.largest_batch);
    plan.decode_position = DecodePosition();
    const ModelWork work = WorkWith(layers, /*shared_kv_once=*/false);
    const ModelWork shared = WorkWith(layers, /*shared_kv_once=*/true);
    plan.decode_one = Decode(work, 1);
    plan.decode_batch = Decode(work, plan.largest_batch);
    plan.decode_batch_shared = Decode(shared, plan.largest_batch);
    plan.encode = Encode(work, 1);
    plan.total = Total(work, plan.decode_batch, plan.largest_batch);
    plan.total_shared = Total(work, plan.decode_batch_shared, plan.largest_batch);
    plan.restore = Restore(work);
    return plan;
  }

 private:
  // Device memory that `batch` sessions of the context take, with layers [0, layers) resident.
  MemoryPlan MemoryAt(int layers, int64_t batch) const {
    MemoryPlan memory;
    memory.reserved_bytes = request_.reserved_bytes;
    memory.weight_bytes = size_.weight_bytes();
    int64_t largest_streamed = 0;
    for (int layer = layers; layer < config_.num_layers; ++layer) {
      const int64_t bytes = size_.layers[static_cast<size_t>(layer)].weight_bytes();
      memory.host_weight_bytes += bytes;
      largest_streamed = std::max(largest_streamed, bytes);
    }
    memory.weight_bytes -= memory.host_weight_bytes;
    memory.stream_buffer_bytes =
        std::min<int64_t>(kStreamBuffers, config_.num_layers - layers) * largest_streamed;
    memory.activation_bytes = (request_.step_tokens + batch) * StepRowBytes(config_, DType::kBf16);
    memory.logits_bytes = batch * config_.vocab_size * kFloatBytes;
    memory.encode_slot_bytes =
        request_.encode_slots *
        EncodeSlotBytes(config_, layout_, std::min<int64_t>(context_, kMaxSegmentTokens));
    memory.kv_bytes = batch * session_bytes_;
    return memory;
  }

  int64_t LargestBatch(int layers) const {
    int64_t fits = 0, too_many = kMaxBatch + 1;
    while (too_many - fits > 1) {
      const int64_t batch = fits + (too_many - fits) / 2;
      const bool ok = MemoryAt(layers, batch).device_bytes() <= device_.memory_bytes;
      (ok ? fits : too_many) = batch;
    }
    return fits;
  }

  // Sessions beyond the running ones need their pages only.
  int64_t HotSessions(int layers, int64_t largest_batch) const {
    const int64_t running = std::min<int64_t>(largest_batch, request_.running_turns);
    const int64_t left = device_.memory_bytes - MemoryAt(layers, running).device_bytes();
    return running + left / session_bytes_;
  }

  absl::StatusOr<int> ChooseLayers() const {
    const bool automatic = request_.device_layers == PlanRequest::kAutoLayers;
    const int all = automatic ? config_.num_layers : request_.device_layers;
    if (LargestBatch(all) > 0) return all;
    int best = -1;
    double best_rate = 0;
    for (int layers = config_.num_layers - 1; automatic && layers >= 0; --layers) {
      const int64_t batch = LargestBatch(layers);
      if (batch == 0) continue;
      const double rate = Decode(WorkWith(layers, false), batch).tokens_per_second;
      if (rate > best_rate) {
        best = layers;
        best_rate = rate;
      }
    }
    if (best >= 0) return best;
    const MemoryPlan least = MemoryAt(automatic ? 0 : all, 1);
    return absl::ResourceExhaustedError(absl::StrCat(
        device_.name, " has ", FormatBytes(device_.memory_bytes), ", but ",
        FormatBytes(least.device_bytes()), " are needed: weights ",
        FormatBytes(least.weight_bytes + least.stream_buffer_bytes), ", one session of ", context_,
        " tokens ", FormatBytes(least.kv_bytes), ", activations ",
        FormatBytes(least.activation_bytes + least.logits_bytes + least.encode_slot_bytes),
        ", reserved ", FormatBytes(least.reserved_bytes)));
  }

  int64_t DecodePosition() const {
    if (request_.generated_tokens == 0) return request_.prompt_tokens - 1;
    return request_.prompt_tokens + request_.generated_tokens / 2;
  }

  ModelWork WorkWith(int layers, bool shared_kv_once) const {
    return ModelWork(&config_, &layout_, size_,
                     {.passes = request_.passes,
                      .step_tokens = request_.step_tokens,
                      .device_layers = layers,
                      .shared_kv_once = shared_kv_once});
  }

  Rate Decode(const ModelWork& work, int64_t batch) const {
    return RateOf(work.DecodeStep(batch, DecodePosition()), batch);
  }

  Rate Encode(const ModelWork& work, int64_t prompts) const {
    return RateOf(work.Encode(prompts, request_.prompt_tokens), prompts * request_.prompt_tokens);
  }

  Rate RateOf(const Work& work, int64_t tokens) const {
    const Roofline roofline = RooflineOf(work, device_, request_.weights);
    return {roofline.seconds, static_cast<double>(tokens) / roofline.seconds, roofline.bound};
  }

  // The first generated token comes from encoding.
  EndToEnd Total(const ModelWork& work, const Rate& decode, int64_t batch) const {
    if (request_.generated_tokens == 0) return {};
    EndToEnd total;
    total.seconds = Encode(work, batch).seconds +
                    static_cast<double>(request_.generated_tokens - 1) * decode.seconds;
    total.tokens_per_second =
        static_cast<double>(batch * request_.generated_tokens) / total.seconds;
    return total;
  }

  double RestoreSeconds(int64_t tokens) const {
    return static_cast<double>(layout_.PagesFor(tokens) * layout_.page_bytes()) /
           std::min(request_.link_bytes_per_second, device_.host_link_bytes_per_second);
  }

  double EncodeSeconds(const ModelWork& work, int64_t tokens) const {
    return RooflineOf(work.Encode(1, tokens), device_, request_.weights).seconds;
  }

  RestorePlan Restore(const ModelWork& work) const {
    RestorePlan restore;
    restore.bytes_per_1k_tokens = layout_.PagesFor(1000) * layout_.page_bytes();
    restore.seconds_per_1k_tokens = RestoreSeconds(1000);
    restore.encode_seconds_per_1k_tokens = EncodeSeconds(work, 1000);
    restore.crossover_tokens = Crossover(work);
    return restore;
  }

  // From the top down, page by page: within a page restoring takes the same time, and encoding
  // never less than for fewer tokens.
  std::optional<int64_t> Crossover(const ModelWork& work) const {
    const int64_t limit = std::min<int64_t>(config_.max_positions, kMaxCrossoverTokens);
    const auto faster = [&](int64_t tokens) {
      return RestoreSeconds(tokens) <= EncodeSeconds(work, tokens);
    };
    std::optional<int64_t> crossover;
    for (int64_t page = layout_.PagesFor(limit) - 1; page >= 0; --page) {
      const int64_t first = page * layout_.tokens_per_page() + 1;
      const int64_t last = std::min(limit, first + layout_.tokens_per_page() - 1);
      if (!faster(last)) return crossover;
      int64_t slower = first - 1, fast = last;
      if (faster(first)) fast = first;
      while (fast - slower > 1 && fast > first) {
        const int64_t middle = slower + (fast - slower) / 2;
        (faster(middle) ? fast : slower) = middle;
      }
      crossover = fast;
      if (fast > first) return crossover;
    }
    return crossover;
  }

  const ModelConfig& config_;
  const DeviceSpec& device_;
  const PlanRequest& request_;
  const PageLayout layout_;
  const int64_t context_;
  const ModelSize size_;
  const int64_t session_bytes_;
};

}  // namespace

absl::StatusOr<Plan> MakePlan(const ModelConfig& config, const DeviceSpec& device,
                              const PlanRequest& request) {
  LCKV_RETURN_IF_ERROR(config.Validate());
  LCKV_RETURN_IF_ERROR(CheckDevice(device, request.weights));
  LCKV_RETURN_IF_ERROR(CheckRequest(config, request));
  LCKV_ASSIGN_OR_RETURN(PageLayout layout,
                        MakePageLayout(config, request.kv_dtype, request.tokens_per_page));
  const int64_t context = request.prompt_tokens + request.generated_tokens;
  ModelSize size = SizeOf(config, request.weights, static_cast<int>(context));
  LCKV_ASSIGN_OR_RETURN(
      size.layer0_table_bytes,
      PlanLayer0Table(config, request.layer0_table, /*memory_is_host=*/false, size.weight_bytes()));
  return Planner(config, device, request, std::move(layout), std::move(size)).Run();
}

ModelConfig WithFullMap(ModelConfig config) {
  config.layer_map = LayerMap::Identity(config.num_layers);
  config.force_nodiag = false;
  return config;
}

}  // namespace lckv
