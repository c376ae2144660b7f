#include "services/gateway/relay_policy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "base/error_info.h"
#include "tests/testing/status_matchers.h"

namespace lckv::gateway {
namespace {

using lckv::testing::StatusIs;
using ::testing::HasSubstr;
using Action = RelayDecision::Action;

const absl::Time kNow = absl::FromUnixSeconds(1000);

absl::Status LeaseHeld(const std::string& holder) {
  return WithErrorInfo(absl::AbortedError("held"), {kReasonLeaseHeld, {{"holder", holder}}});
}
absl::Status With(absl::StatusCode code, const char* reason) {
  return WithErrorInfo(absl::Status(code, "x"), {reason, {}});
}

class RelayPolicyTest : public ::testing::Test {
 protected:
  RelayDecision Decide(const AttemptEnd& end, const TurnHistory& history = {}) {
    return AfterAttempt(end, history, limits_, kNow, [this](absl::string_view worker) {
      const auto found = states_.find(std::string(worker));
      return found == states_.end() ? WorkerState::kDead : found->second;
    });
  }
  AttemptEnd End(absl::Status status, bool begun = false) {
    AttemptEnd end;
    end.worker = "a";
    end.status = std::move(status);
    end.begun = begun;
    return end;
  }
  // A turn whose stream broke `ago` and is being continued.
  TurnHistory Broken(absl::Duration ago, int continuations = 1) {
    TurnHistory history;
    history.continuations = continuations;
    history.broken_since = kNow - ago;
    return history;
  }

  RelayLimits limits_;
  std::map<std::string, WorkerState> states_ = {{"a", WorkerState::kReady},
                                                {"b", WorkerState::kReady}};
};

TEST_F(RelayPolicyTest, AFinalFrameCompletesTheTurnWhateverFollows) {
  AttemptEnd end = End(absl::UnavailableError("reset"));
  end.done = true;
  const RelayDecision decision = Decide(end);
  EXPECT_EQ(decision.action, Action::kEnd);
  EXPECT_OK(decision.status);
}

TEST_F(RelayPolicyTest, ABrokenStreamContinuesElsewhereWithTakeover) {
  AttemptEnd stalled = End(absl::CancelledError("cut"));
  stalled.stalled = true;
  const AttemptEnd ends[] = {
      End(absl::UnavailableError("reset")),
      End(absl::UnavailableError("reset"), true),
      End(absl::CancelledError("stream reset"), true),
      End(absl::OkStatus(), true),  // without a final frame
      stalled,
      End(With(absl::StatusCode::kUnavailable, kReasonDraining), true),
  };
  for (const AttemptEnd& end : ends) {
    const RelayDecision decision = Decide(end);
    EXPECT_EQ(decision.action, Action::kRetry) << end.status;
    EXPECT_TRUE(decision.continuation) << end.status;
    EXPECT_TRUE(decision.takeover) << end.status;
    EXPECT_EQ(decision.avoid, "a") << end.status;
    EXPECT_EQ(decision.worker, "") << end.status;
    EXPECT_EQ(decision.delay, absl::ZeroDuration()) << end.status;
  }
}

TEST_F(RelayPolicyTest, ContinuationsSlowDownAndEnd) {
  const AttemptEnd end = End(absl::UnavailableError("reset"), true);
  absl::Duration last_delay = absl::ZeroDuration();
  for (int i = 1; i < limits_.max_continuations; ++i) {
    const RelayDecision decision = Decide(end, Broken(absl::ZeroDuration(), i));
    EXPECT_EQ(decision.action, Action::kRetry);
    EXPECT_GT(decision.delay, last_delay);
    last_delay = decision.delay;
  }
  const RelayDecision decision =
      Decide(end, Broken(absl::ZeroDuration(), limits_.max_continuations));
  EXPECT_EQ(decision.action, Action::kEnd);
  EXPECT_THAT(decision.status, StatusIs(absl::StatusCode::kUnavailable, HasSubstr("reset")));
  EXPECT_EQ(ErrorReason(decision.status), kReasonNoWorker);
  EXPECT_TRUE(GetRetryAfter(decision.status).has_value());
}

TEST_F(RelayPolicyTest, ADrainingWorkerThatRefusesIsARerouteNotAContinuation) {
  const RelayDecision decision = Decide(End(With(absl::StatusCode::kUnavailable, kReasonDraining)));
  EXPECT_EQ(decision.action, Action::kRetry);
  EXPECT_FALSE(decision.continuation);
  EXPECT_FALSE(decision.wait);
  EXPECT_TRUE(decision.takeover);
  EXPECT_EQ(decision.avoid, "a");
}

TEST_F(RelayPolicyTest, AHeldLeaseLeadsToItsHolder) {
  const RelayDecision decision = Decide(End(LeaseHeld("b")));
  EXPECT_EQ(decision.action, Action::kRetry);
  EXPECT_EQ(decision.worker, "b");
  EXPECT_FALSE(decision.takeover);
  EXPECT_FALSE(decision.continuation);
}

TEST_F(RelayPolicyTest, ALeaseIsTakenFromAHolderThatIsNotReady) {
  for (WorkerState state : {WorkerState::kDead, WorkerState::kSuspect, WorkerState::kStarting,
                            WorkerState::kDraining}) {
    states_["b"] = state;
    const RelayDecision decision = Decide(End(LeaseHeld("b")));
    EXPECT_EQ(decision.action, Action::kRetry) << WorkerStateName(state);
    EXPECT_EQ(decision.worker, "a") << WorkerStateName(state);
    EXPECT_TRUE(decision.takeover) << WorkerStateName(state);
  }
  EXPECT_TRUE(Decide(End(LeaseHeld("nobody"))).takeover);
  EXPECT_TRUE(Decide(End(LeaseHeld(""))).takeover);
  EXPECT_TRUE(Decide(End(LeaseHeld("a"))).takeover);
}

TEST_F(RelayPolicyTest, ReroutesEnd) {
  TurnHistory history;
  history.reroutes = limits_.max_reroutes;
  for (const absl::Status& status :
       {LeaseHeld("b"), With(absl::StatusCode::kUnavailable, kReasonDraining)}) {
    const RelayDecision decision = Decide(End(status), history);
    EXPECT_EQ(decision.action, Action::kEnd);
    EXPECT_EQ(decision.status, status);
  }
}

TEST_F(RelayPolicyTest, AnswersPassThroughUnchanged) {
  const absl::Status answers[] = {
      absl::InvalidArgumentError("x"),
      absl::NotFoundError("x"),
      absl::InternalError("x"),
      absl::DeadlineExceededError("x"),
      With(absl::StatusCode::kAborted, kReasonStaleEpoch),
      With(absl::StatusCode::kAborted, kReasonVersionConflict),
      With(absl::StatusCode::kAborted, kReasonSessionBusy),
      With(absl::StatusCode::kResourceExhausted, kReasonQueueFull),
      With(absl::StatusCode::kResourceExhausted, kReasonPoolFull),
      With(absl::StatusCode::kFailedPrecondition, kReasonFingerprint),
      With(absl::StatusCode::kOutOfRange, kReasonContextFull),
      With(absl::StatusCode::kUnavailable, kReasonCacheUnavailable),
  };
  for (const absl::Status& status : answers) {
    for (bool begun : {false, true}) {
      const RelayDecision decision = Decide(End(status, begun));
      EXPECT_EQ(decision.action, Action::kEnd) << status;
      EXPECT_EQ(decision.status, status);
    }
  }
}

TEST_F(RelayPolicyTest, ABrokenTurnWaitsForABusyWorkerButNotForEver) {
  const absl::Status busy[] = {With(absl::StatusCode::kResourceExhausted, kReasonQueueFull),
                               With(absl::StatusCode::kAborted, kReasonSessionBusy)};
  for (const absl::Status& status : busy) {
    const RelayDecision decision = Decide(End(status), Broken(absl::Seconds(1)));
    EXPECT_EQ(decision.action, Action::kRetry) << status;
    EXPECT_TRUE(decision.wait);
    EXPECT_FALSE(decision.continuation);
    EXPECT_TRUE(decision.takeover);
    EXPECT_GT(decision.delay, absl::ZeroDuration());
    EXPECT_EQ(Decide(End(status), Broken(limits_.continue_wait)).action, Action::kEnd);
    // Repaired since: an error of its own.
    TurnHistory repaired;
    repaired.continuations = 1;
    EXPECT_EQ(Decide(End(status, true), repaired).action, Action::kEnd);
  }
}

TEST_F(RelayPolicyTest, WithoutAWorkerAFreshTurnEndsAndABrokenOneWaits) {
  const absl::Status none = With(absl::StatusCode::kUnavailable, kReasonNoWorker);
  const RelayDecision fresh = AfterNoRoute(none, {}, limits_, kNow);
  EXPECT_EQ(fresh.action, Action::kEnd);
  EXPECT_EQ(fresh.status, none);
  EXPECT_EQ(AfterNoRoute(none, Broken(absl::Seconds(1)), limits_, kNow).action, Action::kRetry);
  EXPECT_EQ(AfterNoRoute(none, Broken(limits_.continue_wait), limits_, kNow).action, Action::kEnd);
}

}  // namespace
}  // namespace lckv::gateway
