#include "engine/runtime/engine.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "base/units.h"
#include "engine/runtime/device_layers.h"
#include "engine/runtime/kv_memory.h"
#include "engine/runtime/page_traffic.h"
#include "engine/runtime/step_loop.h"
#include "engine/transformer/model.h"
#include "engine/transformer/step_memory.h"

namespace lckv {
namespace {

Transformer::Limits StepSizes(const EngineOptions& options, int max_context) {
  Transformer::Limits sizes;
  sizes.max_rows = options.step_tokens + options.max_running_turns;
  sizes.max_logit_rows = options.max_running_turns;
  sizes.max_sequences = options.max_running_turns;
  sizes.max_context = max_context;
  return sizes;
}

class EngineImpl final : public Engine {
 public:
  static absl::StatusOr<std::unique_ptr<Engine>> Create(const Checkpoint& checkpoint,
                                                        std::unique_ptr<Backend> backend,
                                                        const EngineOptions& options,
                                                        EngineObserver* observer);

  const ModelConfig& config() const override { return model_->config(); }
  const PageLayout& page_layout() const override { return *layout_; }
  int max_context() const override { return max_context_; }
  const Sha256Digest& fingerprint() const override { return fingerprint_; }
  absl::string_view numerics_class() const override { return numerics_class_; }
  std::string description() const override {
    return absl::StrCat(backend_->description(), ", weights ", model_->weight_formats(), " (",
                        FormatBytes(model_->weight_bytes()), HostWeights(), "), KV ",
                        Name(layout_->dtype()));
  }
  EngineLoad load() const override { return loop_->load(); }
  int32_t passes(const EncodePolicy& policy) const override {
    if (!config().layer_map.cyclic()) return 1;
    return policy.passes > 0 ? policy.passes : config().default_passes();
  }

  absl::StatusOr<std::unique_ptr<PageImport>> ReserveImport(int64_t num_pages) override {
    return traffic_->ReserveImport(loop_.get(), num_pages);
  }
  absl::Status OpenSession(absl::string_view session, const EncodePolicy& policy,
                           SessionTranscript transcript,
                           std::unique_ptr<PageImport> pages) override;
  absl::Status CloseSession(absl::string_view session) override {
    return OnLoop<absl::Status>([&] { return loop_->CloseSession(session); });
  }
  absl::StatusOr<SessionTranscript> GetTranscript(absl::string_view session) const override {
    return OnLoop<absl::StatusOr<SessionTranscript>>([&] { return loop_->GetTranscript(session); });
  }
  absl::StatusOr<SessionExport> Export(absl::string_view session, int32_t first_page,
                                       int32_t max_pages) override {
    return traffic_->Export(loop_.get(), session, first_page, max_pages);
  }
  absl::Status Truncate(absl::string_view session, int32_t tokens) override {
    return OnLoop<absl::Status>([&] { return loop_->Truncate(session, tokens); });
  }
  absl::Status Submit(TurnRequest request, std::shared_ptr<TurnStream> stream) override {
    return OnLoop<absl::Status>(
        [&] { return loop_->Submit(std::move(request), std::move(stream)); });
  }
  void Cancel(absl::string_view session) override { loop_->Cancel(session); }

 private:
  // Runs `f` on the loop's thread and hands its result back.
  template <typename T, typename F>
  T OnLoop(F&& f) const {
    std::optional<T> result;
    loop_->Run([&] { result.emplace(f()); });
    return *std::move(result);
  }

  absl::Status CheckOpen(const SessionTranscript& transcript, const EncodePolicy& policy,
                         const PoolImport* pages) const;
  absl::Status Plan(const EngineOptions& options, EngineObserver* observer);
  // For description().
  std::string HostWeights() const {
    if (model_->host_weight_bytes() == 0) return "";
    return absl::StrCat(", layers from ", model_->device_layers(),
                        " on in host memory: ", FormatBytes(model_->host_weight_bytes()));
  }

  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Model> model_;
  std::unique_ptr<PageLayout> layout_;
  int max_context_ = 0;
  Sha256Digest fingerprint_{};
  std::string numerics_class_;
  std::unique_ptr<PageTraffic> traffic_;
  std::unique_ptr<StepLoop> loop_;  // last: ends before what it runs on
};

absl::Status EngineImpl::CheckOpen(const SessionTranscript& transcript, const EncodePolicy& policy,
                                   const PoolImport* pages) const {
  const auto tokens = static_cast<int64_t>(transcript.tokens.size());
  if (tokens > max_context_) {
    return absl::OutOfRangeError(
        absl::StrCat("transcript of ", tokens, " tokens, but the context holds ", max_context_));
  }
  if (policy.passes < 0 || policy.passes > kMaxPasses) {
    return absl::InvalidArgumentError(absl::StrCat("passes must be at most ", kMaxPasses));
  }
  int64_t covered = 0;
  for (const SegmentRun& run : transcript.segments) {
    if (run.tokens <= 0 || (!run.each_token && run.tokens > kMaxSegmentTokens)) {
      return absl::InvalidArgumentError(absl::StrCat("segment of ", run.tokens, " tokens"));
    }
    covered += run.tokens;
  }
  if (covered != tokens) {
    return absl::InvalidArgumentError(
        absl::StrCat("segments cover ", covered, " tokens of ", tokens));
  }
  for (int32_t token : transcript.tokens) {
    if (token < 0 || token >= config().vocab_size) {
      return absl::InvalidArgumentError(
          absl::StrCat("token ", token, " is outside the vocabulary"));
    }
  }
  const int64_t imported = pages == nullptr ? 0 : pages->landed();
  if (transcript.kv_tokens < 0 || transcript.kv_tokens > tokens ||
      layout_->PagesFor(transcript.kv_tokens) > imported) {
    return absl::InvalidArgumentError(absl::StrCat(imported, " pages for the KV of ",
                                                   transcript.kv_tokens, " tokens of ", tokens));
  }
  return absl::OkStatus();
}

absl::Status EngineImpl::OpenSession(absl::string_view session, const EncodePolicy& policy,
                                     SessionTranscript transcript,
                                     std::unique_ptr<PageImport> pages) {
  auto* import = static_cast<PoolImport*>(pages.get());
  LCKV_RETURN_IF_ERROR(CheckOpen(transcript, policy, import));
  const int64_t needed = layout_->PagesFor(transcript.kv_tokens);
  if (import != nullptr) {
    LCKV_ASSIGN_OR_RETURN(const int64_t intact, import->Finish());
    if (intact < needed) {
      return absl::DataLossError(
          absl::StrCat("page ", intact, " of ", needed, " is not what was sent"));
    }
  }
  std::vector<int32_t> none;
  return OnLoop<absl::Status>([&] {
    return loop_->OpenSession(session, policy, passes(policy), std::move(transcript),
                              import != nullptr ? import->KeepFirst(needed) : none);
  });
}

absl::Status EngineImpl::Plan(const EngineOptions& options, EngineObserver* observer) {
  StepLoop::Limits limits;
  limits.max_context = max_context_;
  limits.max_running_turns = options.max_running_turns;
  limits.max_waiting_turns = options.max_waiting_turns;
  limits.step_tokens = options.step_tokens;
  LCKV_ASSIGN_OR_RETURN(
      std::unique_ptr<Transformer> transformer,
      Transformer::Create(model_.get(), layout_.get(), StepSizes(options, max_context_)));
  std::vector<EncodeSlot> slots;
  for (int i = 0; config().layer_map.cyclic() && i < options.encode_slots; ++i) {
    LCKV_ASSIGN_OR_RETURN(EncodeSlot slot,
                          transformer->CreateSlot(std::min(max_context_, kMaxSegmentTokens)));
    slots.push_back(std::move(slot));
  }
  PageTraffic::Options traffic;
  traffic.bytes_per_second = options.page_bytes_per_second;
  traffic.staging_bytes = options.page_staging_bytes;
  traffic.most_pages = layout_->PagesFor(max_context_);
  LCKV_ASSIGN_OR_RETURN(traffic_, PageTraffic::Create(backend_.get(), layout_.get(), traffic));
  LCKV_ASSIGN_OR_RETURN(const std::optional<int64_t> free_bytes, backend_->FreeMemory());
  LCKV_ASSIGN_OR_RETURN(const int64_t pages, PlanKvPages(options, free_bytes, layout_->page_bytes(),
                                                         layout_->PagesFor(max_context_)));
  LCKV_ASSIGN_OR_RETURN(
      DeviceBuffer memory,
      backend_->Allocate(static_cast<size_t>(pages) * static_cast<size_t>(layout_->page_bytes())));
  loop_ = std::make_unique<StepLoop>(model_.get(), layout_.get(), std::move(transformer),
                                     std::move(slots), std::move(memory), pages, limits, observer);
  return absl::OkStatus();
}

absl::Status CheckOptions(const EngineOptions& options, const ModelConfig& config) {
  const auto positive = [](int value, const char* name) {
    if (value > 0) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat(name, " must be positive, is ", value));
  };
  LCKV_RETURN_IF_ERROR(positive(options.max_running_turns, "max_running_turns"));
  LCKV_RETURN_IF_ERROR(positive(options.max_waiting_turns, "max_waiting_turns"));
  LCKV_RETURN_IF_ERROR(positive(options.step_tokens, "step_tokens"));
  LCKV_RETURN_IF_ERROR(positive(options.encode_slots, "encode_slots"));
  LCKV_RETURN_IF_ERROR(positive(options.stream_capacity, "stream_capacity"));
  if (!(options.kv_memory_share > 0 && options.kv_memory_share <= 1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("kv_memory_share must be in (0, 1], is ", options.kv_memory_share));
  }
  if (options.page_bytes_per_second < 0 || options.page_staging_bytes < 0) {
    return absl::InvalidArgumentError("page bandwidth and staging must not be negative");
  }
  if (options.device_layers < 0 && options.device_layers != EngineOptions::kAutoLayers) {
    return absl::InvalidArgumentError(
        absl::StrCat("device_layers must not be negative, is ", options.device_layers));
  }
  if (options.max_context < 0 || options.max_context > config.max_positions) {
    return absl::InvalidArgumentError(absl::StrCat("max_context is ", options.max_context,
                                                   ", but the model has ", config.max_positions,
                                                   " positions"));
  }
  return absl::OkStatus();
}

// What the allocator and the parts that nobody plans (page staging, step tables) take, about.
int64_t Slack(int64_t free_bytes) { return free_bytes / 32; }

// EngineOptions::device_layers, chosen if need be.
absl::StatusOr<int> PlanDeviceLayers(const Checkpoint& checkpoint, Backend& backend,
                                     const EngineOptions& options, const PageLayout& layout,
                                     int max_context) {
  if (options.device_layers != EngineOptions::kAutoLayers) return options.device_layers;
  LCKV_ASSIGN_OR_RETURN(const std::optional<int64_t> free_bytes, backend.FreeMemory());
  if (!free_bytes.has_value() || backend.memory_is_host()) return Model::kAllLayers;
  const ModelConfig& config = checkpoint.config();
  LCKV_ASSIGN_OR_RETURN(WeightFootprint weights,
                        Model::Measure(checkpoint, backend, options.weight_format, max_context,
                                       options.layer0_table));
  const Transformer::Limits sizes = StepSizes(options, max_context);
  DeviceLayersRequest request;
  request.free_bytes = *free_bytes;
  request.other_bytes =
      weights.other_bytes + Slack(*free_bytes) +
      sizes.max_rows * StepRowBytes(config, backend.activation_dtype()) +
      int64_t{sizes.max_logit_rows} * config.vocab_size * int64_t{sizeof(float)} +
      options.encode_slots *
          EncodeSlotBytes(config, layout, std::min(max_context, kMaxSegmentTokens));
  request.layer_bytes = std::move(weights.layer_bytes);
  if (options.kv_memory == KvMemory::kBytes) request.kv_bytes = options.kv_memory_bytes;
  request.kv_share = options.kv_memory_share;
  request.session_bytes = layout.PagesFor(max_context) * layout.page_bytes();
  request.running_sessions = options.max_running_turns;
  LCKV_ASSIGN_OR_RETURN(const int layers, ChooseDeviceLayers(request));
  if (layers < config.num_layers) {
    LogInfo("weights of the last layers stay in host memory",
            {{"device_layers", layers}, {"layers", config.num_layers}});
  }
  return layers;
}

// `why`, with what the weights need in all.
absl::Status WeightsDoNotFit(const Checkpoint& checkpoint, const absl::Status& why) {
  const ModelTensors& tensors = checkpoint.tensors();
  int64_t bytes = 0;
  const auto add = [&bytes](const HostMatrix& matrix) {
    bytes += matrix.rows * BytesOf(matrix.dtype, matrix.cols);
  };
  add(tensors.embedding);
  if (tensors.lm_head.data != tensors.embedding.data) add(tensors.lm_head);
  for (const LayerTensors& layer : tensors.layers) {
    for (const HostMatrix* matrix : {&layer.q_proj, &layer.k_proj, &layer.v_proj, &layer.o_proj,
                                     &layer.gate_proj, &layer.up_proj, &layer.down_proj}) {
      add(*matrix);
    }
  }
  return absl::ResourceExhaustedError(
      absl::StrCat("the weights, ", FormatBytes(bytes), " as stored, do not fit: ", why.message()));
}

absl::StatusOr<std::unique_ptr<Engine>> EngineImpl::Create(const Checkpoint& checkpoint,
                                                           std::unique_ptr<Backend> backend,
                                                           const EngineOptions& options,
                                                           EngineObserver* observer) {
  LCKV_RETURN_IF_ERROR(CheckOptions(options, checkpoint.config()));
  auto engine = std::make_unique<EngineImpl>();
  engine->max_context_ =
      options.max_context > 0 ? options.max_context : checkpoint.config().max_positions;
  engine->backend_ = std::move(backend);
  LCKV_ASSIGN_OR_RETURN(engine->fingerprint_,
                        Fingerprint(checkpoint, options.kv_dtype, options.tokens_per_page));
  LCKV_ASSIGN_OR_RETURN(PageLayout layout, MakePageLayout(checkpoint.config(), options.kv_dtype,
                                                          options.tokens_per_page));
  engine->layout_ = std::make_unique<PageLayout>(std::move(layout));
  const absl::StatusOr<int> layers = PlanDeviceLayers(checkpoint, *engine->backend_, options,
                                                      *engine->layout_, engine->max_context_);
  if (absl::IsResourceExhausted(layers.status())) {
    return WeightsDoNotFit(checkpoint, layers.status());
  }
  LCKV_RETURN_IF_ERROR(layers.status());
  absl::StatusOr<std::unique_ptr<Model>> model =
      Model::Load(checkpoint, engine->backend_.get(), options.weight_format, engine->max_context_,
                  *layers, options.layer0_table);
  if (absl::IsResourceExhausted(model.status())) return WeightsDoNotFit(checkpoint, model.status());
  LCKV_ASSIGN_OR_RETURN(engine->model_, std::move(model));
  engine->numerics_class_ =
      absl::StrCat(engine->backend_->numerics_class(), "/", engine->model_->weight_formats(), "/",
                   Name(options.kv_dtype));
  LCKV_RETURN_IF_ERROR(engine->Plan(options, observer));
  return std::unique_ptr<Engine>(std::move(engine));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Engine>> Engine::Create(const Checkpoint& checkpoint,
                                                       std::unique_ptr<Backend> backend,
                                                       const EngineOptions& options,
                                                       EngineObserver* observer) {
  return EngineImpl::Create(checkpoint, std::move(backend), options, observer);
}

}  // namespace lckv
