#include "services/worker/turn_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error_info.h"
#include "services/worker/manifest.h"
#include "tests/testing/status_matchers.h"

namespace lckv::worker {
namespace {

using ::lckv::testing::StatusIs;
using ::testing::ElementsAre;

// Version 1: input 1 2 3, reply 4 5. Then a draft: input 6 7, generated 8 9, with KV of all but the
// last token.
v1::Manifest WithDraft() {
  v1::Manifest manifest;
  manifest.set_version(1);
  manifest.set_last_turn_id("t1");
  manifest.set_last_turn_begin(0);
  manifest.set_last_turn_input_tokens(3);
  manifest.set_last_finish_reason(v1::LENGTH);
  SetTranscript({1, 2, 3, 4, 5, 6, 7, 8, 9},
                std::vector<SegmentRun>{{3, false}, {2, true}, {2, false}, {2, true}}, &manifest);
  manifest.set_committed_tokens(5);
  manifest.set_kv_tokens(8);
  return manifest;
}

TEST(TurnPlanTest, ClassifiesAttempts) {
  v1::Manifest manifest = WithDraft();
  EXPECT_EQ(ClassifyAttempt(manifest, "t2"), AttemptKind::kFresh);
  EXPECT_EQ(ClassifyAttempt(manifest, "t1"), AttemptKind::kRepeat);
  EXPECT_EQ(ClassifyAttempt(manifest, ""), AttemptKind::kFresh);
  manifest.set_last_finish_reason(v1::CANCELLED);
  EXPECT_EQ(ClassifyAttempt(manifest, "t1"), AttemptKind::kReopened);
  EXPECT_EQ(ClassifyAttempt(v1::Manifest(), ""), AttemptKind::kFresh);
}

TEST(TurnPlanTest, LastTurnReplyEndsWithTheCommittedTranscript) {
  EXPECT_THAT(LastTurnReply(WithDraft()), ElementsAre(4, 5));
  EXPECT_TRUE(LastTurnReply(v1::Manifest()).empty());
}

TEST(TurnPlanTest, ChecksVersions) {
  EXPECT_OK(CheckVersion(3, 3));
  const absl::Status status = CheckVersion(2, 3);
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kAborted));
  EXPECT_EQ(ErrorReason(status), kReasonVersionConflict);
  EXPECT_EQ(GetErrorInfo(status)->metadata.at("version"), "3");
}

TEST(TurnPlanTest, ResumedTokensMustAgreeWithTheReply) {
  EXPECT_OK(CheckResumed({}, {4, 5}));
  EXPECT_OK(CheckResumed({4}, {4, 5}));
  EXPECT_OK(CheckResumed({4, 5, 6}, {4, 5}));
  EXPECT_THAT(CheckResumed({4, 6}, {4, 5}), StatusIs(absl::StatusCode::kAborted));
}

struct OpeningCase {
  std::string name;
  std::vector<int32_t> input;
  std::vector<int32_t> resume_from;
  int32_t tokens;
  bool input_adopted;
  int32_t resumed_adopted;
};

TEST(TurnPlanTest, AdoptsADraftAsFarAsItFits) {
  const OpeningCase cases[] = {
      {"all of it", {6, 7}, {8, 9}, 9, true, 2},
      {"the client has more", {6, 7}, {8, 9, 10}, 9, true, 2},
      {"the client has less", {6, 7}, {8}, 8, true, 1},
      {"the client has nothing", {6, 7}, {}, 7, true, 0},
      {"the reply differs", {6, 7}, {8, 1}, 8, true, 1},
      {"another input", {6, 8}, {8, 9}, 5, false, 0},
      {"a longer input", {6, 7, 8}, {9}, 5, false, 0},
      {"a shorter input", {6}, {7, 8}, 5, false, 0},
      {"an input that is longer than the draft", {6, 7, 8, 9, 10}, {}, 5, false, 0},
      {"no input", {}, {}, 5, false, 0},
  };
  for (const OpeningCase& test : cases) {
    SCOPED_TRACE(test.name);
    const Opening opening = PlanOpening(WithDraft(), EncodePolicy(), test.input, test.resume_from);
    EXPECT_EQ(opening.tokens, test.tokens);
    EXPECT_EQ(opening.input_adopted, test.input_adopted);
    EXPECT_EQ(opening.resumed_adopted, test.resumed_adopted);
    EXPECT_EQ(TotalTokens(opening.segments), opening.tokens);
  }
}

TEST(TurnPlanTest, NoDraftWithoutItsKv) {
  v1::Manifest manifest = WithDraft();
  manifest.set_kv_tokens(5);
  EXPECT_EQ(PlanOpening(manifest, EncodePolicy(), {6, 7}, {8, 9}).tokens, 5);
  manifest.set_kv_tokens(6);
  EXPECT_EQ(PlanOpening(manifest, EncodePolicy(), {6, 7}, {8, 9}).tokens, 9);
}

TEST(TurnPlanTest, NoDraftOfOtherSegments) {
  EncodePolicy sequential;
  sequential.sequential = true;
  const Opening opening = PlanOpening(WithDraft(), sequential, {6, 7}, {8, 9});
  EXPECT_EQ(opening.tokens, 5);
  EXPECT_EQ(opening.segments, (std::vector<SegmentRun>{{3, false}, {2, true}}));
}

}  // namespace
}  // namespace lckv::worker
