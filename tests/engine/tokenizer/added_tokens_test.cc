#include "engine/tokenizer/added_tokens.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace lckv {
namespace {

std::vector<std::pair<size_t, int32_t>> All(const AddedTokenMatcher& matcher,
                                            absl::string_view text) {
  std::vector<std::pair<size_t, int32_t>> matches;
  size_t from = 0;
  while (const auto match = matcher.Find(text, from)) {
    matches.emplace_back(match->begin, match->id);
    from = match->begin + match->length_bytes;
  }
  return matches;
}

using Matches = std::vector<std::pair<size_t, int32_t>>;

TEST(AddedTokenMatcher, LeftmostThenLongest) {
  AddedTokenMatcher matcher;
  matcher.Add("<a>", 1);
  matcher.Add("<a><b>", 2);
  matcher.Add("a>", 3);
  matcher.Add("\xFF\x80", 4);
  EXPECT_EQ(All(matcher, "<a>"), (Matches{{0, 1}}));
  EXPECT_EQ(All(matcher, "x<a><b>a>"), (Matches{{1, 2}, {7, 3}}));
  EXPECT_EQ(All(matcher, "<a><b<a>"), (Matches{{0, 1}, {5, 1}}));
  EXPECT_EQ(All(matcher, "<<a>"), (Matches{{1, 1}}));
  EXPECT_EQ(All(matcher, "\xFF\x80\xFF"), (Matches{{0, 4}}));
  EXPECT_EQ(All(matcher, "<a"), (Matches{}));
  EXPECT_EQ(All(matcher, ""), (Matches{}));
}

TEST(AddedTokenMatcher, AnEmptyOneFindsNothing) {
  EXPECT_EQ(All(AddedTokenMatcher(), "<a>"), (Matches{}));
}

}  // namespace
}  // namespace lckv
