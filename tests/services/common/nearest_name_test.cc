#include "services/common/nearest_name.h"

#include <gtest/gtest.h>

namespace lckv {
namespace {

TEST(EditDistanceTest, CountsLetters) {
  const struct {
    const char *a, *b;
    int distance;
  } cases[] = {
      {"", "", 0},
      {"", "abc", 3},
      {"abc", "abc", 0},
      {"abc", "abd", 1},
      {"abc", "ab", 1},
      {"abc", "xabc", 1},
      {"abcd", "abdc", 1},
      {"abcd", "badc", 2},
      {"flaw", "lawn", 2},
      {"kitten", "sitting", 3},
      {"abc", "xyz", 3},
      {"ab", "ba", 1},
      {"worker", "workers", 1},
  };
  for (const auto& [a, b, distance] : cases) {
    EXPECT_EQ(EditDistance(a, b, 9), distance) << a << " " << b;
    EXPECT_EQ(EditDistance(b, a, 9), distance) << a << " " << b;
    for (int limit = 0; limit < 5; ++limit) {
      EXPECT_EQ(EditDistance(a, b, limit), std::min(distance, limit + 1)) << a << " " << b;
    }
  }
}

TEST(NearestNameTest, NamesWhatWasMeant) {
  const std::vector<std::string> names = {"kv-memory", "kv-dtype", "threads", "id", "isa", "data"};
  EXPECT_EQ(NearestName("kv-memry", names), "kv-memory");
  EXPECT_EQ(NearestName("kv_memory", names), "kv-memory");
  EXPECT_EQ(NearestName("thraeds", names), "threads");
  EXPECT_EQ(NearestName("dat", names), "data");
  // Too far: a wrong advice is worse than none.
  EXPECT_EQ(NearestName("memory", names), "");
  EXPECT_EQ(NearestName("ix", names), "");
  EXPECT_EQ(NearestName("isabel", names), "");
  EXPECT_EQ(NearestName("", names), "");
  EXPECT_EQ(NearestName("threads", {}), "");
}

}  // namespace
}  // namespace lckv
