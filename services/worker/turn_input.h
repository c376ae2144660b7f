#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/sampling/sampling_options.h"
#include "engine/tokenizer/chat_template.h"
#include "engine/tokenizer/tokenizer.h"
#include "lckv/v1/worker.pb.h"

namespace lckv::worker {

inline constexpr int32_t kDefaultMaxTokens = 256;
inline constexpr int kMaxStopTokens = 64;

// Checks everything in a request that needs no session: INVALID_ARGUMENT names the field.
absl::Status ValidateTurn(const v1::WorkerGenerateRequest& request, int32_t vocab_size);

// REQUIRES: the request is valid.
SamplingOptions ToSamplingOptions(const v1::SamplingParams& params, uint64_t seed);
int32_t MaxTokens(const v1::SamplingParams& params);
// The request's seed, or one derived from session and turn: the same for every attempt.
uint64_t SeedOf(const v1::WorkerGenerateRequest& request);

// A request's input as token ids, and the ids that end a reply. Immutable; thread-safe.
class TurnInputs {
 public:
  // `chat_template` may be null; both must outlive it. `end_tokens`: of the model's config.
  TurnInputs(const Tokenizer* tokenizer, const ChatTemplate* chat_template,
             std::vector<int32_t> end_tokens);

  // The input that follows `transcript`. INVALID_ARGUMENT (nothing to evaluate, a bad role, an
  // unknown id); FAILED_PRECONDITION: messages for a model without a chat template.
  absl::StatusOr<std::vector<int32_t>> Build(const v1::WorkerGenerateRequest& request,
                                             absl::Span<const int32_t> transcript) const;

  // The tokens that end this request's reply.
  std::vector<int32_t> StopTokens(const v1::SamplingParams& params) const;

 private:
  absl::StatusOr<std::vector<int32_t>> BuildChat(const v1::ChatInput& chat,
                                                 absl::Span<const int32_t> transcript) const;

  const Tokenizer* const tokenizer_;
  const ChatTemplate* const chat_template_;
  int32_t end_of_turn_ = -1;  // -1: none
  std::vector<int32_t> end_tokens_;
};

}  // namespace lckv::worker
