#include "engine/encode/segment_cursor.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <ostream>
#include <random>
#include <tuple>
#include <vector>

#include "tests/testing/golden_case.h"
#include "tests/testing/status_matchers.h"

namespace lckv {
namespace {

using testing::GoldenCase;

// One token's evaluation in one pass of one stage.
struct Visit {
  int32_t position;
  int32_t stage;
  int32_t pass;
  int32_t passes;
  int32_t segment_begin;
  friend bool operator==(const Visit&, const Visit&) = default;
  friend std::ostream& operator<<(std::ostream& out, const Visit& v) {
    return out << "{position " << v.position << ", stage " << v.stage << ", pass " << v.pass << "/"
               << v.passes << ", segment from " << v.segment_begin << "}";
  }
};

struct Plan {
  std::vector<SegmentRun> segments;
  int32_t begin = 0;
  int32_t end = 0;
  int32_t passes = 1;
  bool all_logits = false;
};

constexpr int32_t kAll = WorkItem::kAllLayers;

void VisitSegment(const LayerMap& map, const Plan& plan, int32_t begin, int32_t end,
                  std::vector<Visit>& visits) {
  const std::vector<LayerRun>& stages = map.runs();
  for (size_t s = 0; s < stages.size(); ++s) {
    const int32_t passes = stages[s].cyclic ? std::min(plan.passes, end - begin) : 1;
    const bool above = stages[s].begin > map.producers().back();
    for (int32_t pass = 0; pass < passes; ++pass) {
      for (int32_t p = begin; p < end; ++p) {
        if (above && !plan.all_logits && p + 1 < end) continue;
        visits.push_back({p, static_cast<int32_t>(s), pass, passes, begin});
      }
    }
  }
}

// The slow twin, written from design section 4: which tokens are evaluated, in order, one by one.
std::vector<Visit> ExpectedVisits(const LayerMap& map, const Plan& plan) {
  std::vector<Visit> visits;
  int32_t begin = 0;
  for (const SegmentRun& run : plan.segments) {
    const int32_t end = std::min(begin + run.tokens, plan.end);
    const bool staged = map.cyclic() && !run.each_token && end - begin > 1;
    if (!staged) {
      for (int32_t p = std::max(begin, plan.begin); p < end; ++p) {
        visits.push_back({p, kAll, 0, 1, p});
      }
    } else if (begin >= plan.begin) {
      VisitSegment(map, plan, begin, end, visits);
    }
    begin += run.tokens;
  }
  return visits;
}

// Walks with chunk sizes that `next_rows` gives and checks what holds for any chunks.
template <typename NextRows>
std::vector<Visit> Walk(const LayerMap& map, const Plan& plan, NextRows&& next_rows) {
  SegmentCursor cursor(&map, plan.segments, plan.begin, plan.end, plan.passes, plan.all_logits);
  std::vector<Visit> visits;
  int32_t known = plan.begin;
  EXPECT_EQ(cursor.kv_tokens(), known);
  while (!cursor.done()) {
    const int32_t rows = next_rows();
    const WorkItem item = cursor.Next(rows);
    EXPECT_TRUE(item.rows() >= 1 && item.rows() <= rows);
    EXPECT_EQ(cursor.needs_slot(), item.stage != kAll);
    EXPECT_EQ(item.final_pass(), item.pass == item.passes - 1);
    if (item.stage == kAll) {
      EXPECT_EQ(item.begin, known);
      EXPECT_TRUE(!map.cyclic() || item.rows() == 1);
    } else {
      EXPECT_EQ(item.segment_begin, known);
      EXPECT_EQ(cursor.segment_begin(), known);
      EXPECT_LE(item.end, cursor.segment_end());
    }
    for (int32_t p = item.begin; p < item.end; ++p) {
      visits.push_back(
          {p, item.stage, item.pass, item.passes, item.stage == kAll ? p : item.segment_begin});
    }
    cursor.Advance(item);
    EXPECT_GE(cursor.kv_tokens(), known) << "final KV never gets less";
    EXPECT_LE(cursor.kv_tokens(), item.end) << "nor more than what was evaluated";
    known = cursor.kv_tokens();
  }
  EXPECT_EQ(known, plan.end);
  EXPECT_FALSE(cursor.needs_slot());
  return visits;
}

void ExpectPlan(const LayerMap& map, const Plan& plan, std::mt19937& random) {
  const std::vector<Visit> expected = ExpectedVisits(map, plan);
  for (int32_t rows : {1, 7, 64, 1 << 20}) {
    ASSERT_EQ(Walk(map, plan, [&] { return rows; }), expected) << map.ToString();
  }
  ASSERT_EQ(Walk(map, plan, [&] { return static_cast<int32_t>(1 + random() % 9); }), expected);
}

void ExpectRandomPlans(const LayerMap& map) {
  std::mt19937 random(2);
  for (int round = 0; round < 60; ++round) {
    Plan plan;
    for (uint32_t left = 1 + random() % 5; left > 0; --left) {
      plan.segments.push_back({static_cast<int32_t>(1 + random() % 25), random() % 2 == 0});
    }
    plan.end = static_cast<int32_t>(TotalTokens(plan.segments));
    plan.passes = static_cast<int32_t>(1 + random() % 12);
    plan.all_logits = random() % 2 == 0;
    const auto kv_tokens = static_cast<int32_t>(random() % static_cast<uint32_t>(plan.end));
    plan.begin = UsableKvTokens(plan.segments, kv_tokens, map.cyclic());
    ExpectPlan(map, plan, random);
  }
}

class SegmentCursorTest : public ::testing::TestWithParam<std::string> {
 protected:
  SegmentCursorTest() : golden_(testing::LoadGoldenCase(GetParam())) {
    const auto layers = static_cast<int>(golden_.nodiag.size());
    auto map = LayerMap::Parse(golden_.layer_map, layers);
    EXPECT_OK(map);
    map_ = *std::move(map);
  }

  GoldenCase golden_;
  LayerMap map_ = LayerMap::Identity(0);
};

TEST_P(SegmentCursorTest, TheCasesOfTheGoldenData) {
  std::mt19937 random(1);
  const auto tokens = static_cast<int32_t>(golden_.tokens.size());
  ASSERT_EQ(map_.cyclic(), golden_.cyclic);
  for (const bool all_logits : {false, true}) {
    ExpectPlan(map_, {{{tokens, false}}, 0, tokens, golden_.passes, all_logits}, random);
    ExpectPlan(map_, {{{tokens, true}}, 0, tokens, golden_.passes, all_logits}, random);
    if (golden_.cyclic) {
      ExpectPlan(map_, {golden_.segments, 0, tokens, golden_.passes, all_logits}, random);
    }
  }
}

TEST_P(SegmentCursorTest, RandomSegments) { ExpectRandomPlans(map_); }

TEST_P(SegmentCursorTest, NothingToDo) {
  const SegmentCursor cursor(&map_, {{5, false}}, 5, 5, 9, false);
  EXPECT_TRUE(cursor.done());
  EXPECT_FALSE(cursor.needs_slot());
  EXPECT_EQ(cursor.kv_tokens(), 5);
}

INSTANTIATE_TEST_SUITE_P(GoldenMaps, SegmentCursorTest, ::testing::ValuesIn(testing::GoldenNames()),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

// The golden maps all end in a producer; these have layers above the last one.
TEST(SegmentCursorWalkTest, RandomSegmentsBelowLayersWithoutKv) {
  for (const char* text : {"0_2_2_2_2", "2_2_2_1_4_4_0", "3_3_3_3_5_5_5s"}) {
    const auto layers = static_cast<int>(std::count(text, text + std::strlen(text), '_')) + 1;
    ASSERT_OK_AND_ASSIGN(const LayerMap map, LayerMap::Parse(text, layers));
    ExpectRandomPlans(map);
  }
}

// A few walks spelled out, so that twin and cursor cannot be wrong together.

TEST(SegmentCursorWalkTest, LayersBelowOnceThenPassesThenTheLastTokenAbove) {
  ASSERT_OK_AND_ASSIGN(const LayerMap map, LayerMap::Parse("0_2_2_2_2", 5));
  // Runs: layer 0; the group {1, 2}; layers 3 and 4, above the last producer.
  SegmentCursor cursor(&map, {{4, false}}, 0, 4, 2, false);
  const struct {
    int32_t begin, end, stage, pass, passes;
  } steps[] = {{0, 3, 0, 0, 1}, {3, 4, 0, 0, 1}, {0, 3, 1, 0, 2}, {3, 4, 1, 0, 2},
               {0, 3, 1, 1, 2}, {3, 4, 1, 1, 2}, {3, 4, 2, 0, 1}};
  for (const auto& step : steps) {
    ASSERT_FALSE(cursor.done());
    EXPECT_EQ(cursor.kv_tokens(), 0);
    const WorkItem item = cursor.Next(3);
    EXPECT_EQ(std::tie(item.begin, item.end, item.stage, item.pass, item.passes),
              std::tie(step.begin, step.end, step.stage, step.pass, step.passes));
    cursor.Advance(item);
  }
  EXPECT_TRUE(cursor.done());
  EXPECT_EQ(cursor.kv_tokens(), 4);
}

TEST(SegmentCursorWalkTest, ShortSegmentsGetAsManyPassesAsTokens) {
  ASSERT_OK_AND_ASSIGN(const LayerMap map, LayerMap::Parse("1_1", 2));
  for (int32_t tokens = 2; tokens <= 12; ++tokens) {
    SegmentCursor cursor(&map, {{tokens, false}}, 0, tokens, 9, false);
    int items = 0;
    for (; !cursor.done(); ++items) cursor.Advance(cursor.Next(100));
    EXPECT_EQ(items, std::min(tokens, 9));
  }
}

TEST(SegmentCursorWalkTest, AnAcyclicMapTakesAnyChunkInOnePass) {
  const LayerMap map = LayerMap::Identity(3);
  SegmentCursor cursor(&map, {{5, false}, {3, true}, {4, false}}, 2, 12, 9, false);
  for (int32_t rows : {4, 5, 100}) {
    const WorkItem item = cursor.Next(rows);
    EXPECT_EQ(item.begin, cursor.kv_tokens());
    EXPECT_EQ(item.end, std::min(item.begin + rows, 12));
    EXPECT_EQ(item.stage, kAll);
    EXPECT_EQ(item.passes, 1);
    cursor.Advance(item);
  }
  EXPECT_TRUE(cursor.done());
}

}  // namespace
}  // namespace lckv
