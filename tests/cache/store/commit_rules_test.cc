#include "cache/store/commit_rules.h"

#include <gtest/gtest.h>

#include "base/error_info.h"
#include "cache/image/manifest.h"
#include "tests/testing/cache_fixtures.h"
#include "tests/testing/status_matchers.h"

namespace lckv {
namespace {

using ::lckv::testing::MakeManifest;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

// A manifest at `version` whose last `draft` tokens are not committed.
v1::Manifest At(uint64_t version, uint32_t tokens, uint32_t kv_tokens, uint32_t draft = 0) {
  v1::Manifest manifest = MakeManifest("s", tokens, kv_tokens);
  manifest.set_version(version);
  manifest.set_committed_tokens(tokens - draft);
  return manifest;
}

std::vector<uint32_t> IndicesOf(const std::vector<v1::PageEntry>& pages) {
  std::vector<uint32_t> indices;
  for (const v1::PageEntry& page : pages) indices.push_back(page.index());
  return indices;
}

TEST(PlanCommit, VersionMayStayOrGrowByOne) {
  const v1::Manifest stored = At(5, 40, 0);
  EXPECT_OK(PlanCommit(stored, At(5, 40, 0), {}));
  EXPECT_OK(PlanCommit(stored, At(5, 50, 0, 10), {}));
  EXPECT_OK(PlanCommit(stored, At(6, 50, 0), {}));
  EXPECT_OK(PlanCommit(stored, At(6, 40, 0), {}));
  for (uint64_t version : {0u, 4u, 7u}) {
    const absl::Status status = PlanCommit(stored, At(version, 50, 0), {}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kAborted) << version;
    EXPECT_EQ(ErrorReason(status), kReasonVersionConflict);
    EXPECT_EQ(GetErrorInfo(status)->metadata.at("version"), "5");
  }
}

TEST(PlanCommit, CommittedTokensNeverShrinkOrChange) {
  const v1::Manifest stored = At(5, 40, 0);
  const auto reason = [&](const v1::Manifest& proposed) {
    return ErrorReason(PlanCommit(stored, proposed, {}).status());
  };
  EXPECT_EQ(reason(At(5, 40, 0, 1)), kReasonVersionConflict);
  EXPECT_EQ(reason(At(5, 41, 0)), kReasonVersionConflict);
  EXPECT_EQ(reason(At(6, 39, 0)), kReasonVersionConflict);
  v1::Manifest other_words = At(6, 50, 0);
  other_words.set_tokens(39, 7);
  EXPECT_EQ(reason(other_words), kReasonVersionConflict);
  other_words = At(6, 50, 0);
  other_words.set_tokens(40, 7);
  EXPECT_OK(PlanCommit(stored, other_words, {}));
}

TEST(PlanCommit, ADraftMayBeReplaced) {
  const v1::Manifest stored = At(5, 60, 0, 20);
  v1::Manifest shorter = At(5, 45, 0, 5);
  shorter.set_tokens(42, 7);
  EXPECT_OK(PlanCommit(stored, shorter, {}));
}

TEST(PlanCommit, StoredPagesStayAndWrittenOnesJoin) {
  const v1::Manifest stored = At(1, 40, 40);
  ASSERT_OK_AND_ASSIGN(const CommitPlan same, PlanCommit(stored, At(1, 40, 40), {}));
  EXPECT_EQ(same.manifest.kv_tokens(), 40u);
  EXPECT_THAT(same.superseded, IsEmpty());

  // The partial page 2 grows to a full one, page 3 is new.
  v1::Manifest longer = At(2, 60, 60);
  longer.mutable_pages(2)->set_crc32c(1);
  ASSERT_OK_AND_ASSIGN(const CommitPlan plan, PlanCommit(stored, longer, {2, 3}));
  EXPECT_EQ(plan.manifest.kv_tokens(), 60u);
  EXPECT_THAT(plan.pages_to_store, ElementsAre(0, 1));
  EXPECT_THAT(IndicesOf(plan.superseded), ElementsAre(2));
  EXPECT_EQ(plan.superseded[0].tokens(), 8u);
}

TEST(PlanCommit, AMissingPageDropsAllAfterIt) {
  const v1::Manifest stored = At(1, 70, 20);
  // Page 1 grew, but was not written; 2 and 3 were.
  ASSERT_OK_AND_ASSIGN(const CommitPlan plan, PlanCommit(stored, At(1, 70, 60), {2, 3}));
  EXPECT_EQ(plan.manifest.kv_tokens(), 16u);
  EXPECT_EQ(plan.manifest.pages_size(), 1);
  EXPECT_THAT(plan.pages_to_store, IsEmpty());
  EXPECT_THAT(IndicesOf(plan.superseded), ElementsAre(1));
  EXPECT_OK(ValidateManifest(plan.manifest));
}

TEST(PlanCommit, PagesThatAreNotListedAreDropped) {
  ASSERT_OK_AND_ASSIGN(const CommitPlan plan, PlanCommit(At(1, 40, 40), At(1, 40, 16), {}));
  EXPECT_EQ(plan.manifest.kv_tokens(), 16u);
  EXPECT_THAT(IndicesOf(plan.superseded), ElementsAre(1, 2));
}

TEST(PlanCommit, APageOfOtherContentsIsAnotherPage) {
  const v1::Manifest stored = At(1, 40, 40);
  v1::Manifest proposed = At(1, 40, 40);
  proposed.mutable_pages(1)->set_crc32c(1);
  ASSERT_OK_AND_ASSIGN(const CommitPlan plan, PlanCommit(stored, proposed, {}));
  EXPECT_EQ(plan.manifest.kv_tokens(), 16u);
  EXPECT_THAT(IndicesOf(plan.superseded), ElementsAre(1, 2));
  ASSERT_OK_AND_ASSIGN(const CommitPlan written, PlanCommit(stored, proposed, {1}));
  EXPECT_EQ(written.manifest.kv_tokens(), 40u);
  EXPECT_THAT(IndicesOf(written.superseded), ElementsAre(1));
}

TEST(PlanCommit, PagesOfAnotherModelOrShapeDoNotCount) {
  const v1::Manifest stored = At(1, 40, 32);
  for (int what = 0; what < 3; ++what) {
    v1::Manifest proposed = At(1, 40, 32);
    if (what == 0) proposed.set_fingerprint(std::string(32, 'g'));
    if (what == 1) proposed.set_page_bytes(4096);
    if (what == 2) proposed.set_tokens_per_page(32);
    ASSERT_OK_AND_ASSIGN(const CommitPlan plan, PlanCommit(stored, proposed, {1}));
    EXPECT_EQ(plan.manifest.kv_tokens(), 0u) << what;
    EXPECT_THAT(IndicesOf(plan.superseded), ElementsAre(0, 1)) << what;
    ASSERT_OK_AND_ASSIGN(const CommitPlan written, PlanCommit(stored, proposed, {0, 1}));
    EXPECT_EQ(written.manifest.kv_tokens(), 32u) << what;
  }
}

TEST(PlanCommit, PoliciesAreFixedAtCreation) {
  v1::Manifest stored = At(1, 40, 0);
  stored.mutable_encode()->set_passes(12);
  stored.set_durability(v1::MEMORY);
  stored.set_created_unix_ms(77);
  v1::Manifest proposed = At(2, 50, 0);
  proposed.mutable_encode()->set_mode(v1::EncodePolicy::SEQUENTIAL);
  proposed.set_created_unix_ms(99);
  ASSERT_OK_AND_ASSIGN(const CommitPlan plan, PlanCommit(stored, proposed, {}));
  EXPECT_EQ(plan.manifest.encode().mode(), v1::EncodePolicy::ITERATED);
  EXPECT_EQ(plan.manifest.encode().passes(), 12u);
  EXPECT_EQ(plan.manifest.durability(), v1::MEMORY);
  EXPECT_EQ(plan.manifest.created_unix_ms(), 77);
}

}  // namespace
}  // namespace lckv
