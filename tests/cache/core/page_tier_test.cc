#include "cache/core/page_tier.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "tests/testing/status_matchers.h"

namespace lckv {
namespace {

using ::lckv::testing::StatusIs;

constexpr uint64_t kPage = 4096;

class EvictionCounter final : public CacheObserver {
 public:
  void OnEviction(uint64_t bytes) override { bytes_ += bytes; }
  uint64_t bytes_ = 0;
};

class PageTierTest : public ::testing::Test {
 protected:
  PinnedPage Add(const std::string& key, char fill = 'x') {
    absl::StatusOr<std::vector<ArenaBlock>> blocks = tier_.Allocate(1, kPage);
    EXPECT_OK(blocks);
    std::fill(blocks->front().bytes().begin(), blocks->front().bytes().end(), fill);
    return tier_.Insert(key, std::move(blocks->front()));
  }

  EvictionCounter counter_;
  const std::unique_ptr<Arena> arena_ = *Arena::Create(4 * kPage, false);
  PageTier tier_{arena_.get(), &counter_};
};

TEST_F(PageTierTest, TheLeastRecentlyUsedGoesFirst) {
  for (const char* key : {"a", "b", "c", "d"}) Add(key);
  EXPECT_NE(tier_.Find("a"), nullptr);
  Add("e");
  EXPECT_NE(tier_.Find("a"), nullptr);
  EXPECT_EQ(tier_.Find("b"), nullptr);
  EXPECT_NE(tier_.Find("c"), nullptr);
  EXPECT_EQ(counter_.bytes_, kPage);
}

TEST_F(PageTierTest, PinnedPagesStay) {
  PinnedPage a = Add("a", 'a');
  for (const char* key : {"b", "c", "d", "e", "f"}) Add(key);
  ASSERT_EQ(tier_.Find("a"), a);
  EXPECT_EQ(a->bytes().front(), 'a');
  EXPECT_THAT(tier_.Allocate(4, kPage), StatusIs(absl::StatusCode::kResourceExhausted));
  a = nullptr;
  EXPECT_OK(tier_.Allocate(4, kPage));
}

TEST_F(PageTierTest, WhatCannotFitEvictsNothing) {
  Add("a");
  EXPECT_THAT(tier_.Allocate(5, kPage), StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_NE(tier_.Find("a"), nullptr);
}

TEST_F(PageTierTest, ErasedPagesLiveAsLongAsTheirPins) {
  PinnedPage a = Add("a", 'a');
  tier_.Erase("a");
  tier_.Erase("a");
  EXPECT_EQ(tier_.Find("a"), nullptr);
  EXPECT_EQ(a->bytes().back(), 'a');
  EXPECT_EQ(arena_->live_blocks(), 1u);
  a = nullptr;
  EXPECT_EQ(arena_->live_blocks(), 0u);
}

TEST_F(PageTierTest, TheFirstOfTwoEqualPagesWins) {
  const PinnedPage first = Add("a", '1');
  EXPECT_EQ(Add("a", '2'), first);
  EXPECT_EQ(arena_->live_blocks(), 1u);
}

}  // namespace
}  // namespace lckv
