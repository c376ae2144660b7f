#include "rpc/status_conversion.h"

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/error_info.h"
#include "google/rpc/error_details.pb.h"

namespace lckv {
namespace {

constexpr size_t kMaxMessageBytes = 1024;
constexpr int kMaxDetails = 16;
constexpr int64_t kMaxRetrySeconds = 24 * 3600;

google::rpc::Status MakeDetails(const absl::Status& status, const std::string& message) {
  google::rpc::Status details;
  details.set_code(static_cast<int32_t>(status.code()));
  details.set_message(message);
  if (const auto info = GetErrorInfo(status); info.has_value()) {
    google::rpc::ErrorInfo proto;
    proto.set_reason(info->reason);
    proto.set_domain(kErrorDomain);
    for (const auto& [key, value] : info->metadata) (*proto.mutable_metadata())[key] = value;
    details.add_details()->PackFrom(proto);
  }
  if (const auto delay = GetRetryAfter(status); delay.has_value()) {
    const int64_t ms = absl::ToInt64Milliseconds(*delay);
    google::rpc::RetryInfo proto;
    proto.mutable_retry_delay()->set_seconds(ms / 1000);
    proto.mutable_retry_delay()->set_nanos(static_cast<int32_t>(ms % 1000 * 1'000'000));
    details.add_details()->PackFrom(proto);
  }
  return details;
}

absl::Status WithDetail(absl::Status status, const google::protobuf::Any& detail) {
  if (google::rpc::ErrorInfo info; detail.Is<google::rpc::ErrorInfo>()) {
    if (!detail.UnpackTo(&info) || info.domain() != kErrorDomain) return status;
    return WithErrorInfo(std::move(status),
                         {info.reason(), {info.metadata().begin(), info.metadata().end()}});
  }
  if (google::rpc::RetryInfo retry; detail.Is<google::rpc::RetryInfo>()) {
    if (!detail.UnpackTo(&retry)) return status;
    const int64_t seconds = retry.retry_delay().seconds();
    if (seconds < 0 || seconds > kMaxRetrySeconds || retry.retry_delay().nanos() < 0) return status;
    return WithRetryAfter(std::move(status),
                          absl::Seconds(seconds) + absl::Nanoseconds(retry.retry_delay().nanos()));
  }
  return status;
}

}  // namespace

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  const std::string message(status.message().substr(0, kMaxMessageBytes));
  const google::rpc::Status details = MakeDetails(status, message);
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), message,
                      details.details().empty() ? std::string() : details.SerializeAsString());
}

absl::Status FromGrpcStatus(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  const int code = status.error_code();
  const bool known = code > 0 && code <= static_cast<int>(grpc::StatusCode::UNAUTHENTICATED);
  absl::Status result(known ? static_cast<absl::StatusCode>(code) : absl::StatusCode::kUnknown,
                      status.error_message());
  google::rpc::Status details;
  if (status.error_details().empty() || !details.ParseFromString(status.error_details())) {
    return result;
  }
  for (int i = 0; i < details.details_size() && i < kMaxDetails; ++i) {
    result = WithDetail(std::move(result), details.details(i));
  }
  return result;
}

}  // namespace lckv
