#include "services/gateway/admission.h"

#include <gtest/gtest.h>

#include <optional>
#include <thread>

#include "absl/time/clock.h"
#include "base/error_info.h"
#include "tests/testing/status_matchers.h"

namespace lckv::gateway {
namespace {

using lckv::testing::StatusIs;

TEST(AdmissionTest, RefusesBeyondItsBoundUntilASlotComesBack) {
  Admission admission(2);
  ASSERT_OK_AND_ASSIGN(const Admission::Slot first, admission.TryEnter());
  {
    ASSERT_OK_AND_ASSIGN(const Admission::Slot second, admission.TryEnter());
    const auto third = admission.TryEnter();
    EXPECT_THAT(third, StatusIs(absl::StatusCode::kResourceExhausted));
    EXPECT_EQ(ErrorReason(third.status()), kReasonQueueFull);
    EXPECT_TRUE(GetRetryAfter(third.status()).has_value());
  }
  EXPECT_EQ(admission.turns(), 1);
  EXPECT_OK(admission.TryEnter());
}

TEST(AdmissionTest, AMovedSlotCountsOnce) {
  Admission admission(1);
  std::optional<Admission::Slot> kept;
  {
    ASSERT_OK_AND_ASSIGN(Admission::Slot slot, admission.TryEnter());
    kept.emplace(std::move(slot));
  }
  EXPECT_EQ(admission.turns(), 1);
  kept.reset();
  EXPECT_EQ(admission.turns(), 0);
}

TEST(AdmissionTest, ClosedLetsNobodyInAndWaitsForThoseInside) {
  Admission admission(2);
  std::optional<Admission::Slot> slot(*admission.TryEnter());
  admission.Close();
  const auto late = admission.TryEnter();
  EXPECT_THAT(late, StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_EQ(ErrorReason(late.status()), kReasonDraining);
  EXPECT_FALSE(admission.WaitIdle(absl::Now()));
  std::thread leaving([&] { slot.reset(); });
  EXPECT_TRUE(admission.WaitIdle(absl::InfiniteFuture()));
  leaving.join();
}

}  // namespace
}  // namespace lckv::gateway
