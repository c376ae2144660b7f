#include "base/error_info.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/status_macros.h"

namespace lckv {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

TEST(ErrorInfoTest, RoundTrip) {
  const ErrorInfo info{kReasonLeaseHeld, {{"holder", "worker-1 \"é\"\n"}, {"", ""}}};
  const absl::Status status = WithErrorInfo(absl::AbortedError("held"), info);
  EXPECT_EQ(status.code(), absl::StatusCode::kAborted);
  EXPECT_EQ(status.message(), "held");
  const auto found = GetErrorInfo(status);
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->reason, info.reason);
  EXPECT_EQ(found->metadata, info.metadata);
  EXPECT_EQ(ErrorReason(status), kReasonLeaseHeld);
  EXPECT_EQ(GetRetryAfter(status), std::nullopt);
}

TEST(ErrorInfoTest, RetryAfterRoundTrip) {
  const absl::Status status =
      WithRetryAfter(WithErrorInfo(absl::ResourceExhaustedError("full"), {kReasonQueueFull, {}}),
                     absl::Milliseconds(1500));
  EXPECT_EQ(GetRetryAfter(status), absl::Milliseconds(1500));
  EXPECT_EQ(ErrorReason(status), kReasonQueueFull);
}

TEST(ErrorInfoTest, NothingAttached) {
  for (const absl::Status& status : {absl::OkStatus(), absl::InternalError("x")}) {
    EXPECT_FALSE(GetErrorInfo(status).has_value());
    EXPECT_EQ(ErrorReason(status), "");
    EXPECT_EQ(GetRetryAfter(status), std::nullopt);
  }
}

TEST(ErrorInfoTest, PayloadsOfAnotherShapeAreLeftOut) {
  for (const char* payload : {"", "[]", "{", R"({"reason":1})", R"({"metadata":{"a":"b"}})"}) {
    absl::Status status = absl::AbortedError("x");
    status.SetPayload("lckv/error_info", absl::Cord(payload));
    EXPECT_FALSE(GetErrorInfo(status).has_value()) << payload;
  }
  absl::Status status = absl::AbortedError("x");
  status.SetPayload("lckv/error_info", absl::Cord(R"({"reason":"R","metadata":{"a":1,"b":"c"}})"));
  const auto found = GetErrorInfo(status);
  ASSERT_TRUE(found.has_value());
  EXPECT_THAT(found->metadata, ElementsAre(Pair("b", "c")));
}

TEST(ErrorInfoTest, BytesThatAreNoUtf8AreReplaced) {
  const absl::Status status = WithErrorInfo(absl::AbortedError("x"), {"R", {{"key", "a\xff"}}});
  const auto found = GetErrorInfo(status);
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->metadata.at("key"), "a\xEF\xBF\xBD");
}

TEST(ErrorInfoTest, AnnotateKeepsCodeAndDetails) {
  const absl::Status status =
      Annotate(WithErrorInfo(absl::OutOfRangeError("full"), {kReasonContextFull, {}}), "session s");
  EXPECT_EQ(status.code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(status.message(), "session s: full");
  EXPECT_EQ(ErrorReason(status), kReasonContextFull);
  EXPECT_TRUE(Annotate(absl::OkStatus(), "x").ok());
}

}  // namespace
}  // namespace lckv
