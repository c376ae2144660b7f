#include "base/error_info.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace lckv {
namespace {

constexpr char kInfoUrl[] = "lckv/error_info";
constexpr char kRetryUrl[] = "lckv/retry_after_ms";

}  // namespace

absl::Status WithErrorInfo(absl::Status status, const ErrorInfo& info) {
  LCKV_CHECK(!status.ok());
  const nlohmann::json json = {{"reason", info.reason}, {"metadata", info.metadata}};
  status.SetPayload(kInfoUrl,
                    absl::Cord(json.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace)));
  return status;
}

absl::Status WithRetryAfter(absl::Status status, absl::Duration delay) {
  LCKV_CHECK(!status.ok());
  status.SetPayload(kRetryUrl, absl::Cord(absl::StrCat(absl::ToInt64Milliseconds(delay))));
  return status;
}

std::optional<ErrorInfo> GetErrorInfo(const absl::Status& status) {
  const auto payload = status.GetPayload(kInfoUrl);
  if (!payload.has_value()) return std::nullopt;
  const nlohmann::json json = nlohmann::json::parse(std::string(*payload), nullptr, false);
  if (!json.is_object()) return std::nullopt;
  // Written by WithErrorInfo, but a payload is anyone's: what has another shape is left out.
  ErrorInfo info;
  const auto reason = json.find("reason");
  if (reason == json.end() || !reason->is_string()) return std::nullopt;
  info.reason = reason->get<std::string>();
  const auto metadata = json.find("metadata");
  if (metadata == json.end() || !metadata->is_object()) return info;
  for (const auto& [key, value] : metadata->items()) {
    if (value.is_string()) info.metadata[key] = value.get<std::string>();
  }
  return info;
}

std::string ErrorReason(const absl::Status& status) {
  auto info = GetErrorInfo(status);
  return info.has_value() ? std::move(info->reason) : std::string();
}

std::optional<absl::Duration> GetRetryAfter(const absl::Status& status) {
  const auto payload = status.GetPayload(kRetryUrl);
  int64_t ms = 0;
  if (!payload.has_value() || !absl::SimpleAtoi(std::string(*payload), &ms)) return std::nullopt;
  return absl::Milliseconds(ms);
}

}  // namespace lckv
