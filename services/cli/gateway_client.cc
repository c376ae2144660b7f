#include "services/cli/gateway_client.h"

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "rpc/channel.h"

namespace lckv {

std::unique_ptr<v1::Inference::Stub> ConnectToGateway(const std::string& server) {
  return v1::Inference::NewStub(MakeChannel(server));
}

std::string Name(v1::FinishReason reason) {
  return absl::AsciiStrToLower(v1::FinishReason_Name(reason));
}
std::string Name(v1::RestoreSource source) {
  return absl::AsciiStrToLower(v1::RestoreSource_Name(source));
}
std::string Name(v1::SessionInfo::State state) {
  return absl::AsciiStrToLower(v1::SessionInfo::State_Name(state));
}
std::string Name(v1::Durability durability) {
  return absl::AsciiStrToLower(v1::Durability_Name(durability));
}

std::string Name(const v1::EncodePolicy& policy) {
  if (policy.mode() == v1::EncodePolicy::SEQUENTIAL) return "sequential";
  return policy.passes() == 0 ? "iterated" : absl::StrCat("iterated(", policy.passes(), ")");
}

absl::StatusOr<v1::EncodePolicy> ParseEncodePolicy(absl::string_view text) {
  v1::EncodePolicy policy;
  if (text.empty() || text == "iterated") return policy;
  if (text == "sequential") {
    policy.set_mode(v1::EncodePolicy::SEQUENTIAL);
    return policy;
  }
  absl::string_view number = text;
  uint32_t passes = 0;
  if (absl::ConsumePrefix(&number, "iterated(") && absl::ConsumeSuffix(&number, ")") &&
      absl::SimpleAtoi(number, &passes) && passes > 0) {
    policy.set_passes(passes);
    return policy;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("encode: '", text, "' is not iterated, iterated(K) or sequential"));
}

absl::StatusOr<v1::Durability> ParseDurability(absl::string_view text) {
  if (text.empty() || text == "durable") return v1::DURABLE;
  if (text == "memory") return v1::MEMORY;
  return absl::InvalidArgumentError(
      absl::StrCat("durability: '", text, "' is not durable or memory"));
}

}  // namespace lckv
