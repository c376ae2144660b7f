#include "rpc/status_conversion.h"

#include <gtest/gtest.h>

#include <string>

#include "base/error_info.h"
#include "google/rpc/error_details.pb.h"

namespace lckv {
namespace {

TEST(StatusConversion, EveryCodeKeepsItsNumber) {
  for (int code = 1; code <= 16; ++code) {
    const absl::Status status(static_cast<absl::StatusCode>(code), "why");
    const grpc::Status wire = ToGrpcStatus(status);
    EXPECT_EQ(wire.error_code(), code);
    EXPECT_TRUE(wire.error_details().empty());
    EXPECT_EQ(FromGrpcStatus(wire), status);
  }
  EXPECT_TRUE(ToGrpcStatus(absl::OkStatus()).ok());
  EXPECT_TRUE(FromGrpcStatus(grpc::Status::OK).ok());
}

TEST(StatusConversion, DetailsSurviveTheWire) {
  absl::Status status =
      WithErrorInfo(absl::AbortedError("held"), {kReasonLeaseHeld, {{"holder", "worker-1"}}});
  status = WithRetryAfter(std::move(status), absl::Milliseconds(1250));
  const absl::Status back = FromGrpcStatus(ToGrpcStatus(status));
  EXPECT_EQ(back.code(), absl::StatusCode::kAborted);
  EXPECT_EQ(ErrorReason(back), kReasonLeaseHeld);
  ASSERT_TRUE(GetErrorInfo(back).has_value());
  EXPECT_EQ(GetErrorInfo(back)->metadata.at("holder"), "worker-1");
  EXPECT_EQ(GetRetryAfter(back), absl::Milliseconds(1250));
}

TEST(StatusConversion, WireFormIsGoogleRpcStatus) {
  const grpc::Status wire =
      ToGrpcStatus(WithErrorInfo(absl::NotFoundError("gone"), {"SOME_REASON", {}}));
  google::rpc::Status details;
  ASSERT_TRUE(details.ParseFromString(wire.error_details()));
  EXPECT_EQ(details.code(), 5);
  EXPECT_EQ(details.message(), "gone");
  ASSERT_EQ(details.details_size(), 1);
  EXPECT_EQ(details.details(0).type_url(), "type.googleapis.com/google.rpc.ErrorInfo");
  google::rpc::ErrorInfo info;
  ASSERT_TRUE(details.details(0).UnpackTo(&info));
  EXPECT_EQ(info.domain(), "lckv");
}

TEST(StatusConversion, ForeignAndBrokenDetailsAreLeftOut) {
  const grpc::Status garbage(grpc::StatusCode::ABORTED, "x", "\x0a\xff\xff");
  EXPECT_EQ(ErrorReason(FromGrpcStatus(garbage)), "");

  google::rpc::ErrorInfo info;
  info.set_reason("LEASE_HELD");
  info.set_domain("elsewhere");
  google::rpc::Status details;
  details.add_details()->PackFrom(info);
  google::rpc::RetryInfo retry;
  retry.mutable_retry_delay()->set_seconds(-5);
  details.add_details()->PackFrom(retry);
  const absl::Status back =
      FromGrpcStatus(grpc::Status(grpc::StatusCode::ABORTED, "x", details.SerializeAsString()));
  EXPECT_EQ(ErrorReason(back), "");
  EXPECT_FALSE(GetRetryAfter(back).has_value());
}

TEST(StatusConversion, LongMessagesAreCut) {
  EXPECT_EQ(ToGrpcStatus(absl::InternalError(std::string(5000, 'x'))).error_message().size(),
            1024u);
}

}  // namespace
}  // namespace lckv
