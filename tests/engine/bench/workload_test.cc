// The benchmark's own machinery, on the trained test model: turns start together, and held sessions
// hold what they are asked to.

#include "engine/bench/workload.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/bench/held_sessions.h"
#include "tests/engine/runtime/engine_harness.h"

namespace lckv {
namespace {

using namespace testing;  // NOLINT: the harness

class WorkloadTest : public ::testing::Test {
 protected:
  StepClock clock_;
  const std::unique_ptr<Engine> engine_ = MakeEngine(BardPath(), SmallOptions(), 2, &clock_);
};

int32_t KvTokens(Engine& engine, int session) {
  auto transcript = engine.GetTranscript(absl::StrCat("held-", session));
  EXPECT_OK(transcript);
  return transcript.ok() ? transcript->kv_tokens : -1;
}

TEST(MedianTest, IsTheMiddle) {
  EXPECT_EQ(Median({3, 1, 2}), 2);
  EXPECT_EQ(Median({4, 1, 2, 3}), 2.5);
}

TEST_F(WorkloadTest, TurnsStartTogether) {
  constexpr int kTurns = 12, kTokens = 30;
  std::vector<TurnRequest> turns;
  for (int i = 0; i < kTurns; ++i) {
    OpenEmpty(*engine_, absl::StrCat(i));
    turns.push_back(MakeTurn(absl::StrCat(i), {1}, kTokens));
  }
  ASSERT_OK_AND_ASSIGN(const TurnTimes times, RunTurns(*engine_, std::move(turns)));
  EXPECT_GT(times.encode_seconds, 0);
  EXPECT_LT(times.encode_seconds, times.seconds);
  // All at once but for the first few steps, whatever else this machine does.
  EXPECT_GT(clock_.TakeDecodeSteps(kTurns).size(), 0u);
  EXPECT_EQ(clock_.TakeDecodeSteps(kTurns).size(), 0u);
}

TEST_F(WorkloadTest, FreshTurnsLeaveNothing) {
  FreshTurns fresh;
  fresh.prompt = 20;
  fresh.generate = 3;
  fresh.batch = 4;
  ASSERT_OK(RunFresh(*engine_, fresh));
  fresh.prompt = 600;  // longer than the context
  EXPECT_THAT(RunFresh(*engine_, fresh), StatusIs(absl::StatusCode::kOutOfRange));
  EXPECT_THAT(RunTurns(*engine_, {MakeTurn("nobody", {1}, 1)}),
              StatusIs(absl::StatusCode::kNotFound));
  ExpectNothingLeft(*engine_, {});
}

TEST_F(WorkloadTest, HeldSessionsAreCutOrImported) {
  {
    HeldSessions held(engine_.get());
    ASSERT_OK(held.Hold(3, 40));
    EXPECT_EQ(held.imported().bytes, 9 * engine_->page_layout().page_bytes());
    ASSERT_OK(held.Decode(3, 5));
    EXPECT_EQ(KvTokens(*engine_, 2), 40);
    ASSERT_OK(held.Hold(4, 20));
    EXPECT_EQ(held.imported().bytes, 11 * engine_->page_layout().page_bytes());
    EXPECT_EQ(KvTokens(*engine_, 0), 20);
    EXPECT_EQ(KvTokens(*engine_, 3), 20);
    ASSERT_OK_AND_ASSIGN(const PageTraffic out, held.Export());
    ASSERT_OK_AND_ASSIGN(const PageTraffic in, held.Import());
    EXPECT_EQ(out.bytes, 2 * engine_->page_layout().page_bytes());
    EXPECT_EQ(in.bytes, out.bytes);
    EXPECT_EQ(KvTokens(*engine_, 0), 20);
  }
  ExpectNothingLeft(*engine_, {});
}

}  // namespace
}  // namespace lckv
