#include "services/worker/turn_input.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "cache/image/manifest.h"
#include "engine/encode/segment.h"

namespace lckv::worker {
namespace {

template <typename... Parts>
absl::Status Invalid(const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat(parts...));
}

absl::Status CheckTokens(absl::string_view field,
                         const google::protobuf::RepeatedField<int32_t>& ids, int32_t vocab_size) {
  for (int i = 0; i < ids.size(); ++i) {
    if (ids.Get(i) < 0 || ids.Get(i) >= vocab_size) {
      return Invalid(field, "[", i, "] is ", ids.Get(i), ", the vocabulary has ", vocab_size);
    }
  }
  return absl::OkStatus();
}

// Comparisons that a NaN fails.
absl::Status CheckSampling(const v1::SamplingParams& params, int32_t vocab_size) {
  if (params.has_temperature() &&
      !(params.temperature() >= 0 && std::isfinite(params.temperature()))) {
    return Invalid("sampling.temperature is ", params.temperature());
  }
  if (params.has_top_p() && !(params.top_p() > 0 && params.top_p() <= 1)) {
    return Invalid("sampling.top_p is ", params.top_p());
  }
  if (params.has_min_p() && !(params.min_p() >= 0 && params.min_p() < 1)) {
    return Invalid("sampling.min_p is ", params.min_p());
  }
  if (params.has_max_tokens() && params.max_tokens() == 0) {
    return Invalid("sampling.max_tokens is 0");
  }
  if (params.stop_tokens_size() > kMaxStopTokens) {
    return Invalid("sampling.stop_tokens: ", params.stop_tokens_size(), ", at most ",
                   kMaxStopTokens);
  }
  return CheckTokens("sampling.stop_tokens", params.stop_tokens(), vocab_size);
}

}  // namespace

absl::Status ValidateTurn(const v1::WorkerGenerateRequest& request, int32_t vocab_size) {
  LCKV_RETURN_IF_ERROR(ValidateSessionName(request.tenant(), request.session_id()));
  if (request.turn_id().size() > kMaxNameBytes) return Invalid("turn_id is too long");
  if (request.encode().passes() > static_cast<uint32_t>(kMaxPasses)) {
    return Invalid("encode.passes is ", request.encode().passes(), ", at most ", kMaxPasses);
  }
  if (!v1::EncodePolicy::Mode_IsValid(request.encode().mode())) return Invalid("encode.mode");
  if (!v1::Durability_IsValid(request.durability())) return Invalid("durability");
  LCKV_RETURN_IF_ERROR(CheckSampling(request.sampling(), vocab_size));
  LCKV_RETURN_IF_ERROR(CheckTokens("tokens", request.tokens().ids(), vocab_size));
  LCKV_RETURN_IF_ERROR(CheckTokens("resume_from", request.resume_from(), vocab_size));
  if (request.resume_from_size() > MaxTokens(request.sampling())) {
    return Invalid("resume_from holds ", request.resume_from_size(), " tokens, max_tokens is ",
                   MaxTokens(request.sampling()));
  }
  if (request.resume_from_size() > 0 && !request.sampling().has_seed()) {
    return Invalid("resume_from without a seed");
  }
  return absl::OkStatus();
}

SamplingOptions ToSamplingOptions(const v1::SamplingParams& params, uint64_t seed) {
  SamplingOptions options;
  options.temperature = params.temperature();
  options.top_k =
      static_cast<int32_t>(std::min<uint32_t>(params.top_k(), static_cast<uint32_t>(INT32_MAX)));
  options.top_p = params.has_top_p() ? params.top_p() : 1;
  options.min_p = params.min_p();
  options.seed = seed;
  return options;
}

int32_t MaxTokens(const v1::SamplingParams& params) {
  if (!params.has_max_tokens()) return kDefaultMaxTokens;
  return static_cast<int32_t>(
      std::min<uint32_t>(params.max_tokens(), static_cast<uint32_t>(INT32_MAX)));
}

uint64_t SeedOf(const v1::WorkerGenerateRequest& request) {
  if (request.sampling().has_seed()) return request.sampling().seed();
  // Names hold no newline.
  const Sha256Digest digest =
      Sha256Of(absl::StrCat(request.tenant(), "\n", request.session_id(), "\n", request.turn_id()));
  uint64_t seed = 0;
  for (int i = 0; i < 8; ++i) seed = seed << 8 | digest[static_cast<size_t>(i)];
  return seed;
}

TurnInputs::TurnInputs(const Tokenizer* tokenizer, const ChatTemplate* chat_template,
                       std::vector<int32_t> end_tokens)
    : tokenizer_(tokenizer), chat_template_(chat_template), end_tokens_(std::move(end_tokens)) {
  if (chat_template_ == nullptr) return;
  end_of_turn_ = tokenizer_->FindToken(chat_template_->end_of_turn());
  const bool known =
      std::find(end_tokens_.begin(), end_tokens_.end(), end_of_turn_) != end_tokens_.end();
  if (end_of_turn_ >= 0 && !known) end_tokens_.push_back(end_of_turn_);
}

absl::StatusOr<std::vector<int32_t>> TurnInputs::Build(const v1::WorkerGenerateRequest& request,
                                                       absl::Span<const int32_t> transcript) const {
  std::vector<int32_t> input;
  switch (request.input_case()) {
    case v1::WorkerGenerateRequest::kText: {
      Tokenizer::EncodeOptions options;
      options.add_special = request.add_special() && transcript.empty();
      options.parse_special = request.parse_special();
      LCKV_ASSIGN_OR_RETURN(input, tokenizer_->Encode(request.text(), options));
      break;
    }
    case v1::WorkerGenerateRequest::kTokens:
      input.assign(request.tokens().ids().begin(), request.tokens().ids().end());
      break;
    case v1::WorkerGenerateRequest::kChat: {
      LCKV_ASSIGN_OR_RETURN(input, BuildChat(request.chat(), transcript));
      break;
    }
    case v1::WorkerGenerateRequest::INPUT_NOT_SET:
      break;
  }
  if (input.empty() && transcript.empty()) {
    return Invalid("input: no tokens, and the session is empty");
  }
  return input;
}

absl::StatusOr<std::vector<int32_t>> TurnInputs::BuildChat(
    const v1::ChatInput& chat, absl::Span<const int32_t> transcript) const {
  if (chat_template_ == nullptr) {
    return absl::FailedPreconditionError("chat: the model has no chat template");
  }
  std::vector<ChatMessage> messages;
  messages.reserve(static_cast<size_t>(chat.messages_size()));
  for (const v1::Message& message : chat.messages()) {
    messages.push_back({message.role(), message.content()});
  }
  if (messages.empty()) return Invalid("chat.messages is empty");
  LCKV_RETURN_IF_ERROR(ValidateMessages(messages));
  const bool reply_ended = !transcript.empty() && transcript.back() == end_of_turn_;
  const std::vector<ChatTemplate::Piece> pieces =
      transcript.empty() ? chat_template_->Render(messages, /*add_generation_prompt=*/true)
                         : chat_template_->RenderContinuation(reply_ended, messages);
  std::vector<int32_t> input;
  for (const ChatTemplate::Piece& piece : pieces) {
    Tokenizer::EncodeOptions options;
    options.parse_special = piece.special;
    LCKV_ASSIGN_OR_RETURN(const std::vector<int32_t> ids, tokenizer_->Encode(piece.text, options));
    input.insert(input.end(), ids.begin(), ids.end());
  }
  return input;
}

std::vector<int32_t> TurnInputs::StopTokens(const v1::SamplingParams& params) const {
  std::vector<int32_t> stop(params.stop_tokens().begin(), params.stop_tokens().end());
  if (!params.ignore_eos()) stop.insert(stop.end(), end_tokens_.begin(), end_tokens_.end());
  return stop;
}

}  // namespace lckv::worker
