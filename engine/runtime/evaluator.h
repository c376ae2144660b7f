#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/encode/segment.h"
#include "engine/kv/page_layout.h"
#include "engine/transformer/model.h"
#include "engine/transformer/transformer.h"

namespace lckv {

// Evaluates whole token lists and shows every token's logits: for `lckv logits`, `lckv ppl` and
// tests. The same transformer, pages and segment cursor as the engine, without sessions, scheduling
// and sampling. One thread at a time.
class Evaluator {
 public:
  struct Options {
    DType kv_dtype = DType::kF32;
    int tokens_per_page = 64;
    int max_tokens = 0;  // of one list; 0: all that the model was loaded for
    int chunk = 64;      // tokens of a segment evaluated at once; no effect on any bit
  };
  // `model` must outlive the evaluator.
  static absl::StatusOr<std::unique_ptr<Evaluator>> Create(const Model* model,
                                                           const Options& options);

  // Called with a token's position and its logits [vocab], in no promised order; each position
  // once.
  using LogitsSink = std::function<void(int32_t position, absl::Span<const float> logits)>;

  struct Result {
    int32_t passes = 1;  // most passes that a segment got
    float residual = 0;  // largest relative KV change in a last pass; 0: every segment exact (n <=
                         // K, or an acyclic map)
  };
  // Evaluates `tokens`, cut into `segments`, from an empty context; `passes` = K. INVALID_ARGUMENT
  // when segments do not cover the tokens, or a token id is out of range; OUT_OF_RANGE when there
  // are more than max_tokens.
  absl::StatusOr<Result> Evaluate(absl::Span<const int32_t> tokens,
                                  absl::Span<const SegmentRun> segments, int32_t passes,
                                  const LogitsSink& sink);

 private:
  Evaluator(const Model* model, PageLayout layout, const Options& options)
      : model_(model), layout_(std::move(layout)), options_(options) {}
  absl::Status Plan();
  absl::Status Check(absl::Span<const int32_t> tokens, absl::Span<const SegmentRun> segments,
                     int32_t passes) const;

  const Model* model_;
  PageLayout layout_;
  Options options_;
  std::unique_ptr<Transformer> transformer_;
  DeviceBuffer memory_;
  std::vector<void*> pages_;
  std::optional<EncodeSlot> slot_;
  std::vector<float> logits_;
};

}  // namespace lckv
