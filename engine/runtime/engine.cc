#include "engine/runtime/engine.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "base/units.h"
#include "engine/runtime/step_loop.h"
#include "engine/transformer/model.h"

namespace lckv {
namespace {

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
                        FormatBytes(model_->weight_bytes()), "), KV ", Name(layout_->dtype()));
  }
  EngineLoad load() const override { return loop_->load(); }
  int32_t passes(const EncodePolicy& policy) const override {
    if (!config().layer_map.cyclic()) return 1;
    return policy.passes > 0 ? policy.passes : config().default_passes();
  }

  absl::StatusOr<std::unique_ptr<PageImport>> ReserveImport(int64_t num_pages) override;
  absl::Status OpenSession(absl::string_view session, const EncodePolicy& policy,
                           SessionTranscript transcript,
                           std::unique_ptr<PageImport> pages) override;
  absl::Status CloseSession(absl::string_view session) override {
    return OnLoop<absl::Status>([&] { return loop_->CloseSession(session); });
  }
  absl::StatusOr<SessionTranscript> GetTranscript(absl::string_view session) const override {
    return OnLoop<absl::StatusOr<SessionTranscript>>([&] { return loop_->GetTranscript(session); });
  }
  absl::StatusOr<SessionExport> Export(absl::string_view session, int32_t first_page) override {
    return OnLoop<absl::StatusOr<SessionExport>>(
        [&] { return loop_->Export(session, first_page); });
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
  class Import;

  // Runs `f` on the loop's thread and hands its result back.
  template <typename T, typename F>
  T OnLoop(F&& f) const {
    std::optional<T> result;
    loop_->Run([&] { result.emplace(f()); });
    return *std::move(result);
  }

  absl::Status CheckOpen(const SessionTranscript& transcript, const EncodePolicy& policy,
                         const Import* pages) const;
  absl::Status Plan(const EngineOptions& options, EngineObserver* observer);

  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Model> model_;
  std::unique_ptr<PageLayout> layout_;
  int max_context_ = 0;
  Sha256Digest fingerprint_{};
  std::string numerics_class_;
  std::unique_ptr<StepLoop> loop_;  // last: ends before what it runs on
};

// Pool pages, filled through host memory: the pages themselves where the backend computes in host
// memory, a staging area elsewhere.
class EngineImpl::Import final : public PageImport {
 public:
  Import(const EngineImpl* engine, std::vector<int32_t> pages)
      : engine_(engine), pages_(std::move(pages)) {
    const auto page_bytes = static_cast<size_t>(engine_->layout_->page_bytes());
    if (!engine_->backend_->memory_is_host()) staging_.resize(pages_.size() * page_bytes);
    for (size_t i = 0; i < pages_.size(); ++i) {
      buffers_.push_back(staging_.empty()
                             ? static_cast<void*>(engine_->loop_->PageAddress(pages_[i]))
                             : static_cast<void*>(staging_.data() + i * page_bytes));
    }
  }
  ~Import() override {
    if (pages_.empty()) return;
    engine_->loop_->Run([this] { engine_->loop_->ReleasePages(pages_); });
  }

  absl::Span<void* const> buffers() const override { return buffers_; }
  std::vector<int32_t>& pages() { return pages_; }
  size_t size() const { return buffers_.size(); }

  // On the loop's thread: gives the pages after the first `count` back.
  void KeepFirst(int64_t count) {
    for (; static_cast<int64_t>(pages_.size()) > count; pages_.pop_back()) {
      engine_->loop_->ReleasePages({pages_.back()});
    }
  }

  // On the loop's thread: brings staged bytes to where the pages are.
  void Land() {
    const auto page_bytes = static_cast<size_t>(engine_->layout_->page_bytes());
    for (size_t i = 0; !staging_.empty() && i < pages_.size(); ++i) {
      engine_->backend_->CopyToDevice(engine_->loop_->PageAddress(pages_[i]), buffers_[i],
                                      page_bytes);
    }
  }

 private:
  const EngineImpl* engine_;
  std::vector<int32_t> pages_;  // empty once the session has them
  std::vector<uint8_t> staging_;
  std::vector<void*> buffers_;
};

absl::StatusOr<std::unique_ptr<PageImport>> EngineImpl::ReserveImport(int64_t num_pages) {
  if (num_pages < 1) return absl::InvalidArgumentError("no pages to import");
  LCKV_ASSIGN_OR_RETURN(std::vector<int32_t> pages,
                        (OnLoop<absl::StatusOr<std::vector<int32_t>>>(
                            [&] { return loop_->AllocatePages(num_pages); })));
  return std::unique_ptr<PageImport>(std::make_unique<Import>(this, std::move(pages)));
}

absl::Status EngineImpl::CheckOpen(const SessionTranscript& transcript, const EncodePolicy& policy,
                                   const Import* pages) const {
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
  const int64_t imported = pages == nullptr ? 0 : static_cast<int64_t>(pages->size());
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
  auto* import = static_cast<Import*>(pages.get());
  LCKV_RETURN_IF_ERROR(CheckOpen(transcript, policy, import));
  std::vector<int32_t> none;
  const int64_t needed = layout_->PagesFor(transcript.kv_tokens);
  return OnLoop<absl::Status>([&] {
    if (import != nullptr) {
      import->KeepFirst(needed);
      import->Land();
    }
    return loop_->OpenSession(session, policy, passes(policy), std::move(transcript),
                              import != nullptr ? import->pages() : none);
  });
}

absl::Status EngineImpl::Plan(const EngineOptions& options, EngineObserver* observer) {
  StepLoop::Limits limits;
  limits.max_context = max_context_;
  limits.max_running_turns = options.max_running_turns;
  limits.max_waiting_turns = options.max_waiting_turns;
  limits.step_tokens = options.step_tokens;
  Transformer::Limits sizes;
  sizes.max_rows = options.step_tokens + options.max_running_turns;
  sizes.max_logit_rows = options.max_running_turns;
  sizes.max_sequences = options.max_running_turns;
  sizes.max_context = max_context_;
  LCKV_ASSIGN_OR_RETURN(std::unique_ptr<Transformer> transformer,
                        Transformer::Create(model_.get(), layout_.get(), sizes));
  std::vector<EncodeSlot> slots;
  for (int i = 0; config().layer_map.cyclic() && i < options.encode_slots; ++i) {
    LCKV_ASSIGN_OR_RETURN(EncodeSlot slot,
                          transformer->CreateSlot(std::min(max_context_, kMaxSegmentTokens)));
    slots.push_back(std::move(slot));
  }
  const int64_t pages = options.kv_memory_bytes / layout_->page_bytes();
  if (pages < 1 || pages > INT32_MAX) {
    return absl::InvalidArgumentError(
        absl::StrCat("KV memory of ", FormatBytes(options.kv_memory_bytes), " for pages of ",
                     FormatBytes(layout_->page_bytes())));
  }
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
  if (options.max_context < 0 || options.max_context > config.max_positions) {
    return absl::InvalidArgumentError(absl::StrCat("max_context is ", options.max_context,
                                                   ", but the model has ", config.max_positions,
                                                   " positions"));
  }
  return absl::OkStatus();
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
  LCKV_ASSIGN_OR_RETURN(engine->model_, Model::Load(checkpoint, engine->backend_.get(),
                                                    options.weight_format, engine->max_context_));
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
