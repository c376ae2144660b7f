#include "services/gateway/validation.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/error_info.h"
#include "base/status_macros.h"

namespace lckv::gateway {
namespace {

absl::Status Invalid(absl::string_view field, absl::string_view what) {
  return WithErrorInfo(absl::InvalidArgumentError(absl::StrCat(field, ": ", what)),
                       {kReasonInvalidField, {{"field", std::string(field)}}});
}

absl::Status ValidateOptionalSessionId(absl::string_view id) {
  return id.empty() ? absl::OkStatus() : ValidateSessionId(id);
}

template <typename Ids>
absl::Status ValidateTokens(absl::string_view field, const Ids& ids, int max_count) {
  if (ids.size() > max_count) {
    return Invalid(field, absl::StrCat(ids.size(), " tokens, at most ", max_count));
  }
  if (std::any_of(ids.begin(), ids.end(), [](int32_t id) { return id < 0; })) {
    return Invalid(field, "a token id is negative");
  }
  return absl::OkStatus();
}

absl::Status ValidateTextSize(absl::string_view field, size_t bytes) {
  if (bytes <= kMaxTextBytes) return absl::OkStatus();
  return Invalid(field, absl::StrCat(bytes, " bytes, at most ", kMaxTextBytes));
}

absl::Status ValidateSampling(const v1::SamplingParams& sampling) {
  if (sampling.has_temperature() &&
      !(std::isfinite(sampling.temperature()) && sampling.temperature() >= 0)) {
    return Invalid("sampling.temperature", "want a finite number >= 0");
  }
  if (sampling.has_top_p() && !(sampling.top_p() > 0 && sampling.top_p() <= 1)) {
    return Invalid("sampling.top_p", "want a number in (0, 1]");
  }
  if (sampling.has_min_p() && !(sampling.min_p() >= 0 && sampling.min_p() < 1)) {
    return Invalid("sampling.min_p", "want a number in [0, 1)");
  }
  if (sampling.has_max_tokens() &&
      (sampling.max_tokens() < 1 || sampling.max_tokens() > static_cast<uint32_t>(kMaxTokens))) {
    return Invalid("sampling.max_tokens", absl::StrCat("want 1 to ", kMaxTokens));
  }
  return ValidateTokens("sampling.stop_tokens", sampling.stop_tokens(), kMaxStopTokens);
}

absl::Status ValidateEncode(const v1::EncodePolicy& encode) {
  if (!v1::EncodePolicy::Mode_IsValid(encode.mode())) {
    return Invalid("encode.mode", "unknown");
  }
  if (encode.passes() > kMaxPasses) {
    return Invalid("encode.passes", absl::StrCat("at most ", kMaxPasses));
  }
  return absl::OkStatus();
}

absl::Status ValidateDurability(v1::Durability durability) {
  if (v1::Durability_IsValid(durability)) return absl::OkStatus();
  return Invalid("durability", "unknown");
}

absl::Status ValidateInput(const v1::GenerateRequest& request) {
  switch (request.input_case()) {
    case v1::GenerateRequest::kText:
      if (request.text().empty() && !request.add_special()) return Invalid("text", "is empty");
      return ValidateTextSize("text", request.text().size());
    case v1::GenerateRequest::kTokens:
      if (request.tokens().ids().empty()) return Invalid("tokens.ids", "is empty");
      return ValidateTokens("tokens.ids", request.tokens().ids(), kMaxTokens);
    case v1::GenerateRequest::INPUT_NOT_SET:
      break;
  }
  return Invalid("input", "want text or tokens");
}

absl::Status ValidateMessages(const v1::ChatRequest& request) {
  if (request.messages().empty()) return Invalid("messages", "is empty");
  if (request.messages_size() > kMaxMessages) {
    return Invalid("messages",
                   absl::StrCat(request.messages_size(), " messages, at most ", kMaxMessages));
  }
  size_t bytes = 0;
  for (int i = 0; i < request.messages_size(); ++i) {
    const v1::Message& message = request.messages(i);
    if (message.role() != "system" && message.role() != "user" && message.role() != "assistant") {
      return Invalid(absl::StrCat("messages[", i, "].role"), "want system, user or assistant");
    }
    bytes += message.content().size();
  }
  return ValidateTextSize("messages", bytes);
}

}  // namespace

absl::Status ValidateSessionId(absl::string_view id) {
  if (id.empty() || id.size() > kMaxSessionIdSize) {
    return Invalid("session_id", absl::StrCat("want 1 to ", kMaxSessionIdSize, " characters"));
  }
  const bool legal = std::all_of(id.begin(), id.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '_' || c == '-';
  });
  return legal ? absl::OkStatus() : Invalid("session_id", "want only A-Z a-z 0-9 . _ -");
}

absl::Status Validate(const v1::GenerateRequest& request) {
  LCKV_RETURN_IF_ERROR(ValidateOptionalSessionId(request.session_id()));
  LCKV_RETURN_IF_ERROR(ValidateInput(request));
  LCKV_RETURN_IF_ERROR(ValidateSampling(request.sampling()));
  LCKV_RETURN_IF_ERROR(ValidateEncode(request.encode()));
  return ValidateDurability(request.durability());
}

absl::Status Validate(const v1::ChatRequest& request) {
  LCKV_RETURN_IF_ERROR(ValidateOptionalSessionId(request.session_id()));
  LCKV_RETURN_IF_ERROR(ValidateMessages(request));
  LCKV_RETURN_IF_ERROR(ValidateSampling(request.sampling()));
  LCKV_RETURN_IF_ERROR(ValidateEncode(request.encode()));
  return ValidateDurability(request.durability());
}

absl::Status Validate(const v1::OpenSessionRequest& request) {
  LCKV_RETURN_IF_ERROR(ValidateOptionalSessionId(request.session_id()));
  LCKV_RETURN_IF_ERROR(ValidateEncode(request.encode()));
  return ValidateDurability(request.durability());
}

absl::Status Validate(const v1::GetSessionRequest& request) {
  return ValidateSessionId(request.session_id());
}

absl::Status Validate(const v1::ListSessionsRequest& request) {
  if (request.page_size() > kMaxPageSize) {
    return Invalid("page_size", absl::StrCat("at most ", kMaxPageSize));
  }
  if (request.page_token().size() > kMaxPageTokenSize) {
    return Invalid("page_token", absl::StrCat("at most ", kMaxPageTokenSize, " bytes"));
  }
  return absl::OkStatus();
}

absl::Status Validate(const v1::TouchSessionRequest& request) {
  return ValidateSessionId(request.session_id());
}

absl::Status Validate(const v1::CloseSessionRequest& request) {
  return ValidateSessionId(request.session_id());
}

absl::Status Validate(const v1::TokenizeRequest& request) {
  return ValidateTextSize("text", request.text().size());
}

absl::Status Validate(const v1::DetokenizeRequest& request) {
  return ValidateTokens("ids", request.ids(), kMaxTokens);
}

absl::Status Validate(const v1::ListModelsRequest&) { return absl::OkStatus(); }

}  // namespace lckv::gateway
