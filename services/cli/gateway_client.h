#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "lckv/v1/inference.grpc.pb.h"

namespace lckv {

inline constexpr char kDefaultServer[] = "127.0.0.1:7400";

// A client of the gateway at `server` (host:port); connects when it is first used.
std::unique_ptr<v1::Inference::Stub> ConnectToGateway(const std::string& server);

// Enum values as users write and read them: lower case, "cache_node".
std::string Name(v1::FinishReason reason);
std::string Name(v1::RestoreSource source);
std::string Name(v1::SessionInfo::State state);
std::string Name(v1::Durability durability);
// "iterated", "iterated(12)", "sequential".
std::string Name(const v1::EncodePolicy& policy);
// The way back of the last two. INVALID_ARGUMENT.
absl::StatusOr<v1::EncodePolicy> ParseEncodePolicy(absl::string_view text);
absl::StatusOr<v1::Durability> ParseDurability(absl::string_view text);

}  // namespace lckv
