#pragma once

// EXPECT_OK(expr); ASSERT_OK(expr); ASSERT_OK_AND_ASSIGN(auto x, expr_returning_StatusOr);
// EXPECT_THAT(expr, StatusIs(absl::StatusCode::kNotFound)); EXPECT_THAT(expr, StatusIs(code,
// HasSubstr("…")));

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/status_macros.h"

namespace lckv::testing {

inline const absl::Status& GetStatus(const absl::Status& status) { return status; }
template <typename T>
const absl::Status& GetStatus(const absl::StatusOr<T>& status) {
  return status.status();
}

MATCHER(IsOk, "is OK") {
  *result_listener << GetStatus(arg).ToString();
  return GetStatus(arg).ok();
}

MATCHER_P(StatusIs, code, "has status code " + absl::StatusCodeToString(code)) {
  *result_listener << GetStatus(arg).ToString();
  return GetStatus(arg).code() == code;
}

MATCHER_P2(StatusIs, code, message_matcher, "has status code " + absl::StatusCodeToString(code)) {
  *result_listener << GetStatus(arg).ToString();
  return GetStatus(arg).code() == code &&
         ::testing::ExplainMatchResult(message_matcher, std::string(GetStatus(arg).message()),
                                       result_listener);
}

}  // namespace lckv::testing

#define EXPECT_OK(expr) EXPECT_THAT((expr), ::lckv::testing::IsOk())
#define ASSERT_OK(expr) ASSERT_THAT((expr), ::lckv::testing::IsOk())
#define ASSERT_OK_AND_ASSIGN(lhs, expr) \
  ASSERT_OK_AND_ASSIGN_INNER(LCKV_STATUS_CONCAT(lckv_test_value_, __LINE__), lhs, expr)
#define ASSERT_OK_AND_ASSIGN_INNER(tmp, lhs, expr) \
  auto tmp = (expr);                               \
  ASSERT_OK(tmp);                                  \
  lhs = *std::move(tmp)
