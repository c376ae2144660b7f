#include "engine/encode/segment.h"

#include <gtest/gtest.h>

#include <ostream>
#include <random>
#include <vector>

namespace lckv {

static std::ostream& operator<<(std::ostream& out, const SegmentRun& run) {
  return out << run.tokens << (run.each_token ? "*1" : "");
}

namespace {

using Runs = std::vector<SegmentRun>;

constexpr EncodePolicy kIterated{};
constexpr EncodePolicy kSequential{true, 0};

// The obvious twin: the segment that each token is in, as its first token and length.
struct Place {
  int32_t begin, tokens;
  friend bool operator==(const Place&, const Place&) = default;
};
std::vector<Place> Places(const Runs& runs) {
  std::vector<Place> places;
  for (const SegmentRun& run : runs) {
    const auto begin = static_cast<int32_t>(places.size());
    for (int32_t i = 0; i < run.tokens; ++i) {
      places.push_back(run.each_token ? Place{begin + i, 1} : Place{begin, run.tokens});
    }
  }
  return places;
}

Runs RandomRuns(std::mt19937& random) {
  Runs runs;
  for (uint32_t left = random() % 6; left > 0; --left) {
    if (random() % 2 == 0) {
      AppendInput(random() % 3 == 0 ? kSequential : kIterated, random() % 12, runs);
    } else {
      for (uint32_t i = random() % 5; i > 0; --i) AppendGenerated(runs);
    }
  }
  return runs;
}

TEST(SegmentTest, AppendInput) {
  const struct {
    Runs before;
    EncodePolicy policy;
    int32_t tokens;
    Runs after;
  } cases[] = {
      {{}, kIterated, 0, {}},
      {{}, kIterated, 1, {{1, false}}},
      {{}, kIterated, 20, {{20, false}}},
      // Inputs never join: each is a segment of its own.
      {{{20, false}}, kIterated, 5, {{20, false}, {5, false}}},
      {{{20, false}, {3, true}}, kIterated, 5, {{20, false}, {3, true}, {5, false}}},
      {{}, kIterated, 4096, {{4096, false}}},
      {{}, kIterated, 4097, {{4096, false}, {1, false}}},
      {{}, kIterated, 10000, {{4096, false}, {4096, false}, {1808, false}}},
      // Single tokens do.
      {{}, kSequential, 5000, {{5000, true}}},
      {{{7, true}}, kSequential, 3, {{10, true}}},
      {{{7, false}}, kSequential, 3, {{7, false}, {3, true}}},
      {{{7, true}}, kSequential, 0, {{7, true}}},
      {{}, kSequential, 0, {}},
  };
  for (const auto& c : cases) {
    Runs runs = c.before;
    AppendInput(c.policy, c.tokens, runs);
    EXPECT_EQ(runs, c.after);
  }
}

TEST(SegmentTest, AppendGenerated) {
  Runs runs;
  AppendGenerated(runs);
  EXPECT_EQ(runs, (Runs{{1, true}}));
  AppendGenerated(runs);
  EXPECT_EQ(runs, (Runs{{2, true}}));
  AppendInput(kIterated, 1, runs);
  AppendGenerated(runs);
  EXPECT_EQ(runs, (Runs{{2, true}, {1, false}, {1, true}}));
}

TEST(SegmentTest, Truncate) {
  const Runs full = {{20, false}, {8, true}, {5, false}, {2, true}};
  const struct {
    int32_t tokens;
    Runs after;
  } cases[] = {
      {0, {}},
      {1, {{1, false}}},
      {19, {{19, false}}},
      {20, {{20, false}}},
      {21, {{20, false}, {1, true}}},
      {28, {{20, false}, {8, true}}},
      {32, {{20, false}, {8, true}, {4, false}}},
      {33, {{20, false}, {8, true}, {5, false}}},
      {34, {{20, false}, {8, true}, {5, false}, {1, true}}},
      {35, full},
  };
  for (const auto& c : cases) {
    Runs runs = full;
    TruncateSegments(c.tokens, runs);
    EXPECT_EQ(runs, c.after) << c.tokens;
    EXPECT_EQ(TotalTokens(runs), c.tokens);
  }
}

TEST(SegmentTest, UsableKvTokens) {
  const Runs runs = {{20, false}, {8, true}, {1, false}, {5, false}, {2, true}};
  const struct {
    int32_t kv_tokens, usable;
  } cases[] = {{0, 0},   {1, 0},   {19, 0},  {20, 20}, {21, 21}, {27, 27}, {28, 28},
               {29, 29}, {30, 29}, {33, 29}, {34, 34}, {35, 35}, {36, 36}};
  for (const auto& c : cases) {
    EXPECT_EQ(UsableKvTokens(runs, c.kv_tokens, true), c.usable) << c.kv_tokens;
    EXPECT_EQ(UsableKvTokens(runs, c.kv_tokens, false), c.kv_tokens);
  }
  EXPECT_EQ(UsableKvTokens({}, 0, true), 0);
}

TEST(SegmentTest, RandomListsAgreeWithTheirPlaces) {
  std::mt19937 random(3);
  for (int round = 0; round < 2000; ++round) {
    const Runs runs = RandomRuns(random);
    const std::vector<Place> places = Places(runs);
    const auto total = static_cast<int32_t>(places.size());
    ASSERT_EQ(TotalTokens(runs), total);
    const auto tokens = static_cast<int32_t>(random() % (places.size() + 1));

    Runs cut = runs;
    TruncateSegments(tokens, cut);
    ASSERT_EQ(TotalTokens(cut), tokens);
    const std::vector<Place> cut_places = Places(cut);
    for (int32_t i = 0; i < tokens; ++i) {
      // Segments keep their beginning, and end at the cut at the latest.
      Place expected = places[static_cast<size_t>(i)];
      expected.tokens = std::min(expected.tokens, tokens - expected.begin);
      ASSERT_EQ(cut_places[static_cast<size_t>(i)], expected);
    }

    const bool inside = tokens < total && places[static_cast<size_t>(tokens)].begin < tokens;
    ASSERT_EQ(UsableKvTokens(runs, tokens, true),
              inside ? places[static_cast<size_t>(tokens)].begin : tokens);
  }
}

}  // namespace
}  // namespace lckv
