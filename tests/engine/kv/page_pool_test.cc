#include "engine/kv/page_pool.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>
#include <vector>

#include "base/error_info.h"
#include "tests/testing/status_matchers.h"

namespace lckv {
namespace {

using testing::StatusIs;

TEST(PagePoolTest, AllOrNothing) {
  PagePool pool(4);
  EXPECT_EQ(pool.capacity(), 4);
  EXPECT_EQ(pool.free_pages(), 4);
  ASSERT_OK_AND_ASSIGN(const std::vector<int32_t> three, pool.Allocate(3));
  const auto refused = pool.Allocate(2);
  EXPECT_THAT(refused, StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_EQ(ErrorReason(refused.status()), kReasonPoolFull);
  EXPECT_EQ(pool.free_pages(), 1);
  ASSERT_OK_AND_ASSIGN(const std::vector<int32_t> last, pool.Allocate(1));
  std::set<int32_t> ids(three.begin(), three.end());
  ids.insert(last[0]);
  EXPECT_EQ(ids, (std::set<int32_t>{0, 1, 2, 3}));
  EXPECT_THAT(pool.Allocate(1), StatusIs(absl::StatusCode::kResourceExhausted));
  ASSERT_OK_AND_ASSIGN(const std::vector<int32_t> none, pool.Allocate(0));
  EXPECT_TRUE(none.empty());
  pool.Release(three);
  pool.Release(last);
  EXPECT_EQ(pool.free_pages(), 4);
}

TEST(PagePoolTest, ThePageFreedLastIsUsedFirst) {
  PagePool pool(8);
  ASSERT_OK_AND_ASSIGN(const std::vector<int32_t> pages, pool.Allocate(5));
  pool.Release(pages[2]);
  ASSERT_OK_AND_ASSIGN(const std::vector<int32_t> again, pool.Allocate(1));
  EXPECT_EQ(again[0], pages[2]);
  pool.Release(pages);
}

TEST(PagePoolTest, TheLastReferenceFrees) {
  PagePool pool(2);
  ASSERT_OK_AND_ASSIGN(const std::vector<int32_t> pages, pool.Allocate(1));
  pool.AddReference(pages[0]);
  pool.AddReference(pages[0]);
  pool.Release(pages[0]);
  pool.Release(pages[0]);
  EXPECT_EQ(pool.free_pages(), 1);
  pool.Release(pages[0]);
  EXPECT_EQ(pool.free_pages(), 2);
}

TEST(PagePoolTest, RandomWalk) {
  constexpr int kPages = 37;
  PagePool pool(kPages);
  std::map<int32_t, int> references;  // of pages that are held
  std::mt19937 random(7);
  const auto pick = [&] {
    auto it = references.begin();
    std::advance(it, random() % references.size());
    return it->first;
  };
  for (int step = 0; step < 20'000; ++step) {
    const uint32_t action = random() % 4;
    if (action == 0) {
      const int64_t count = random() % 9;
      const auto pages = pool.Allocate(count);
      ASSERT_EQ(pages.ok(), count <= kPages - static_cast<int64_t>(references.size()));
      for (size_t i = 0; pages.ok() && i < pages->size(); ++i) {
        ASSERT_TRUE(references.emplace((*pages)[i], 1).second) << "page handed out twice";
        ASSERT_TRUE((*pages)[i] >= 0 && (*pages)[i] < kPages);
      }
    } else if (action == 1 && !references.empty()) {
      const int32_t page = pick();
      pool.AddReference(page);
      ++references[page];
    } else if (!references.empty()) {
      const int32_t page = pick();
      pool.Release(page);
      if (--references[page] == 0) references.erase(page);
    }
    ASSERT_EQ(pool.free_pages() + static_cast<int64_t>(references.size()), pool.capacity());
  }
  for (const auto& [page, count] : references) {
    for (int i = 0; i < count; ++i) pool.Release(page);
  }
  EXPECT_EQ(pool.free_pages(), pool.capacity());
}

TEST(PagePoolDeathTest, ProgrammerErrors) {
  ::testing::GTEST_FLAG(death_test_style) = "threadsafe";
  EXPECT_DEATH(
      {
        PagePool pool(1);
        pool.Release(0);
      },
      "check failed");
  EXPECT_DEATH(
      {
        PagePool pool(1);
        pool.AddReference(0);
      },
      "check failed");
  EXPECT_DEATH(
      {
        PagePool pool(1);
        (void)pool.Allocate(1);
      },
      "check failed");
}

}  // namespace
}  // namespace lckv
