#include "services/worker/session_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "base/error_info.h"
#include "tests/testing/cache_fixtures.h"
#include "tests/testing/status_matchers.h"

namespace lckv::worker {
namespace {

using ::lckv::testing::FakeClock;
using ::lckv::testing::StatusIs;
using ::testing::ElementsAre;

class RecordingListener final : public HotSessionListener {
 public:
  void OnHot(const SessionKey& key) override { events.push_back("+" + key.session_id); }
  void OnDropped(const SessionKey& key) override { events.push_back("-" + key.session_id); }
  std::vector<std::string> events;
};

class SessionStoreTest : public ::testing::Test {
 protected:
  SessionClaim MustClaim(const std::string& id) {
    absl::StatusOr<SessionClaim> claim = store_.Claim({"t", id}, absl::InfiniteFuture());
    EXPECT_OK(claim);
    return *std::move(claim);
  }
  void MakeHot(const std::string& id) { MustClaim(id).MarkHot(); }
  absl::Status ClaimNow(const std::string& id) {
    return store_.Claim({"t", id}, clock_.Now()).status();
  }

  FakeClock clock_;
  RecordingListener listener_;
  SessionStore store_{{.capacity = 3}, &clock_, &listener_};
};

TEST_F(SessionStoreTest, AClaimThatLeavesNothingHotLeavesNothing) {
  { EXPECT_FALSE(MustClaim("a").hot()); }
  EXPECT_EQ(store_.size(), 0u);
  EXPECT_EQ(store_.Find({"t", "a"}), nullptr);
  EXPECT_TRUE(listener_.events.empty());
}

TEST_F(SessionStoreTest, HotSessionsStayUntilTheyAreDropped) {
  MakeHot("a");
  EXPECT_NE(store_.Find({"t", "a"}), nullptr);
  EXPECT_EQ(store_.Find({"other", "a"}), nullptr);
  {
    SessionClaim claim = MustClaim("a");
    EXPECT_TRUE(claim.hot());
    const std::shared_ptr<HotSession> before = claim.shared_session();
    claim.MarkDropped();
    EXPECT_FALSE(claim.hot());
    EXPECT_NE(claim.shared_session(), before);
    MutexLock lock(before->mu);
    EXPECT_TRUE(before->dropped);
  }
  EXPECT_EQ(store_.size(), 0u);
  EXPECT_THAT(listener_.events, ElementsAre("+a", "-a"));
}

TEST_F(SessionStoreTest, OneTurnAtATime) {
  SessionClaim claim = MustClaim("a");
  claim.SetState(SessionState::kRunning);
  const absl::Status busy = store_.Claim({"t", "a"}, clock_.Now() + absl::Hours(1)).status();
  EXPECT_THAT(busy, StatusIs(absl::StatusCode::kAborted));
  EXPECT_EQ(ErrorReason(busy), kReasonSessionBusy);
  EXPECT_OK(ClaimNow("b"));
}

TEST_F(SessionStoreTest, WaitsForWhatEndsSoon) {
  SessionClaim claim = MustClaim("a");
  claim.SetState(SessionState::kRunning);
  claim.MarkHot();
  EXPECT_THAT(ClaimNow("a"), StatusIs(absl::StatusCode::kAborted));
  claim.SetEnding();
  std::thread next([this] { EXPECT_TRUE(MustClaim("a").hot()); });
  claim.End();
  next.join();
}

TEST_F(SessionStoreTest, ClaimIdleTakesOnlyWhatIsIdle) {
  EXPECT_FALSE(store_.ClaimIdle({"t", "a"}, SessionState::kEvicting).has_value());
  MakeHot("a");
  {
    SessionClaim claim = MustClaim("a");
    EXPECT_FALSE(store_.ClaimIdle({"t", "a"}, SessionState::kEvicting).has_value());
    EXPECT_TRUE(store_.Idle().empty());
    EXPECT_EQ(store_.Hot().size(), 1u);
  }
  EXPECT_TRUE(store_.ClaimIdle({"t", "a"}, SessionState::kEvicting).has_value());
  EXPECT_EQ(store_.Idle().size(), 1u);
}

TEST_F(SessionStoreTest, OnlyUseCountsAsUse) {
  MakeHot("a");
  const absl::Time used = clock_.Now();
  clock_.Advance(absl::Seconds(5));
  store_.ClaimIdle({"t", "a"}, SessionState::kEvicting);
  EXPECT_EQ(store_.Idle()[0].last_use, used);
  MakeHot("a");
  EXPECT_EQ(store_.Idle()[0].last_use, clock_.Now());
}

TEST_F(SessionStoreTest, FullIsATypedError) {
  for (const char* id : {"a", "b", "c"}) MakeHot(id);
  const absl::Status full = ClaimNow("d");
  EXPECT_THAT(full, StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_TRUE(GetRetryAfter(full).has_value());
  EXPECT_OK(ClaimNow("a"));
}

TEST_F(SessionStoreTest, CountsByState) {
  MakeHot("a");
  SessionClaim restoring = MustClaim("b");
  SessionClaim running = MustClaim("c");
  running.SetState(SessionState::kRunning);
  EXPECT_THAT(store_.CountByState(), ElementsAre(1, 1, 1, 0));
}

}  // namespace
}  // namespace lckv::worker
