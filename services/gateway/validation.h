#pragma once

// What a public request may contain, field by field, before anything else looks at it. Pure
// functions: OK, or INVALID_ARGUMENT whose message begins with the field's path and whose ErrorInfo
// has reason INVALID_FIELD and metadata "field".

#include <cstddef>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "lckv/v1/inference.pb.h"

namespace lckv::gateway {

inline constexpr char kReasonInvalidField[] = "INVALID_FIELD";

inline constexpr size_t kMaxSessionIdSize = 128;
inline constexpr size_t kMaxTextBytes = 4 << 20;  // of all messages together in a chat
inline constexpr int kMaxTokens = 1 << 20;
inline constexpr int kMaxMessages = 4096;
inline constexpr int kMaxStopTokens = 64;
inline constexpr uint32_t kMaxPasses = 64;
inline constexpr uint32_t kMaxPageSize = 1000;
inline constexpr size_t kMaxPageTokenSize = 1024;

// `id` is required: 1 to 128 of [A-Za-z0-9._-].
absl::Status ValidateSessionId(absl::string_view id);

absl::Status Validate(const v1::GenerateRequest& request);
absl::Status Validate(const v1::ChatRequest& request);
absl::Status Validate(const v1::OpenSessionRequest& request);
absl::Status Validate(const v1::GetSessionRequest& request);
absl::Status Validate(const v1::ListSessionsRequest& request);
absl::Status Validate(const v1::TouchSessionRequest& request);
absl::Status Validate(const v1::CloseSessionRequest& request);
absl::Status Validate(const v1::TokenizeRequest& request);
absl::Status Validate(const v1::DetokenizeRequest& request);
absl::Status Validate(const v1::ListModelsRequest& request);

}  // namespace lckv::gateway
