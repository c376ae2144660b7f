#include "engine/runtime/evaluator.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/encode/segment_cursor.h"

namespace lckv {

absl::StatusOr<std::unique_ptr<Evaluator>> Evaluator::Create(const Model* model,
                                                             const Options& options) {
  LCKV_ASSIGN_OR_RETURN(PageLayout layout,
                        MakePageLayout(model->config(), options.kv_dtype, options.tokens_per_page));
  std::unique_ptr<Evaluator> evaluator(new Evaluator(model, std::move(layout), options));
  if (evaluator->options_.max_tokens == 0) {
    evaluator->options_.max_tokens = model->max_context();
  }
  if (evaluator->options_.max_tokens < 1 || evaluator->options_.max_tokens > model->max_context()) {
    return absl::InvalidArgumentError(absl::StrCat("max_tokens is ", options.max_tokens,
                                                   ", but the model was loaded for ",
                                                   model->max_context(), " positions"));
  }
  if (options.chunk <= 0) return absl::InvalidArgumentError("chunk must be positive");
  LCKV_RETURN_IF_ERROR(evaluator->Plan());
  return evaluator;
}

absl::Status Evaluator::Plan() {
  Transformer::Limits limits;
  limits.max_rows = options_.chunk;
  limits.max_logit_rows = options_.chunk;
  limits.max_sequences = 1;
  limits.max_context = options_.max_tokens;
  LCKV_ASSIGN_OR_RETURN(transformer_, Transformer::Create(model_, &layout_, limits));
  const auto pages = static_cast<size_t>(layout_.PagesFor(options_.max_tokens));
  const auto page_bytes = static_cast<size_t>(layout_.page_bytes());
  LCKV_ASSIGN_OR_RETURN(memory_, model_->backend().Allocate(pages * page_bytes));
  for (size_t page = 0; page < pages; ++page) pages_.push_back(memory_.bytes() + page * page_bytes);
  if (model_->config().layer_map.cyclic()) {
    LCKV_ASSIGN_OR_RETURN(EncodeSlot slot, transformer_->CreateSlot(
                                               std::min(options_.max_tokens, kMaxSegmentTokens)));
    slot_ = std::move(slot);
  }
  logits_.resize(static_cast<size_t>(options_.chunk) *
                 static_cast<size_t>(model_->config().vocab_size));
  return absl::OkStatus();
}

absl::Status Evaluator::Check(absl::Span<const int32_t> tokens,
                              absl::Span<const SegmentRun> segments, int32_t passes) const {
  if (passes < 1 || passes > kMaxPasses) {
    return absl::InvalidArgumentError(absl::StrCat("passes must be 1 to ", kMaxPasses));
  }
  if (static_cast<int64_t>(tokens.size()) > options_.max_tokens) {
    return absl::OutOfRangeError(
        absl::StrCat(tokens.size(), " tokens, but the context holds ", options_.max_tokens));
  }
  for (const SegmentRun& run : segments) {
    if (run.tokens <= 0 || (!run.each_token && run.tokens > kMaxSegmentTokens)) {
      return absl::InvalidArgumentError(absl::StrCat("segment of ", run.tokens, " tokens"));
    }
  }
  if (TotalTokens(segments) != static_cast<int64_t>(tokens.size())) {
    return absl::InvalidArgumentError(absl::StrCat("segments cover ", TotalTokens(segments),
                                                   " tokens, but there are ", tokens.size()));
  }
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] < 0 || tokens[i] >= model_->config().vocab_size) {
      return absl::InvalidArgumentError(absl::StrCat("token ", i, " is ", tokens[i],
                                                     ", outside the vocabulary of ",
                                                     model_->config().vocab_size));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<Evaluator::Result> Evaluator::Evaluate(absl::Span<const int32_t> tokens,
                                                      absl::Span<const SegmentRun> segments,
                                                      int32_t passes, const LogitsSink& sink) {
  LCKV_RETURN_IF_ERROR(Check(tokens, segments, passes));
  const auto vocab = static_cast<size_t>(model_->config().vocab_size);
  SegmentCursor cursor(&model_->config().layer_map, segments, 0,
                       static_cast<int32_t>(tokens.size()), passes, /*all_logits=*/true);
  Result result;
  while (!cursor.done()) {
    SequenceWork work;
    work.item = cursor.Next(options_.chunk);
    work.tokens = tokens.data() + work.item.begin;
    work.pages =
        absl::MakeConstSpan(pages_.data(), static_cast<size_t>(layout_.PagesFor(work.item.end)));
    work.slot = cursor.needs_slot() ? &*slot_ : nullptr;
    work.logits = LogitsWanted::kAll;
    LCKV_ASSIGN_OR_RETURN(const Transformer::Output output, transformer_->Forward({&work, 1}));
    result.passes = std::max(result.passes, work.item.passes);
    const int32_t length = cursor.segment_end() - cursor.segment_begin();
    if (work.slot != nullptr && length > passes) {
      // One pass has no pass before it: nothing is known about the error.
      result.residual = std::max(result.residual, passes == 1 ? 1.0f : output.kv_change[0]);
    }
    if (output.num_logit_rows > 0) {
      const size_t rows = static_cast<size_t>(output.num_logit_rows);
      model_->backend().CopyToHost(logits_.data(), output.logits, rows * vocab * sizeof(float));
      for (size_t row = 0; row < rows; ++row) {
        sink(work.item.begin + static_cast<int32_t>(row),
             absl::MakeConstSpan(logits_.data() + row * vocab, vocab));
      }
    }
    cursor.Advance(work.item);
  }
  return result;
}

}  // namespace lckv
