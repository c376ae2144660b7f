#include "services/worker/eviction.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>

namespace lckv::worker {
namespace {

const absl::Time kNow = absl::FromUnixSeconds(1000);

EvictionCandidate Candidate(const std::string& id, int idle_seconds, int64_t pages, bool pushed) {
  return {{"t", id}, kNow - absl::Seconds(idle_seconds), pages, pushed};
}

std::vector<std::string> Ids(const std::vector<SessionKey>& keys) {
  std::vector<std::string> ids;
  for (const SessionKey& key : keys) ids.push_back(key.session_id);
  return ids;
}

struct Case {
  std::string name;
  std::vector<EvictionCandidate> candidates;
  int idle_after_seconds;  // 0: never
  int64_t pages_needed;
  std::vector<std::string> evict;
  std::vector<std::string> push_first;
};

TEST(EvictionTest, Table) {
  const std::vector<EvictionCandidate> four = {
      Candidate("young", 1, 4, true), Candidate("old", 30, 4, true),
      Candidate("dirty-old", 40, 4, false), Candidate("dirty-young", 2, 4, false)};
  const Case cases[] = {
      {"nothing there", {}, 10, 5, {}, {}},
      {"nothing asked", four, 0, 0, {}, {}},
      {"idle", four, 10, 0, {"old"}, {"dirty-old"}},
      {"idle exactly", four, 30, 0, {"old"}, {"dirty-old"}},
      {"not quite idle", four, 31, 0, {}, {"dirty-old"}},
      {"pressure takes the pushed one that was used longest ago", four, 0, 1, {"old"}, {}},
      {"pressure takes as many as needed", four, 0, 5, {"old", "young"}, {}},
      {"then those that must be pushed", four, 0, 9, {"old", "young"}, {"dirty-old"}},
      {"all of them", four, 0, 99, {"old", "young"}, {"dirty-old", "dirty-young"}},
      {"idle ones count for pressure", four, 10, 8, {"old"}, {"dirty-old"}},
      {"idle first, then pressure", four, 10, 9, {"old", "young"}, {"dirty-old"}},
      {"no pages, no use", {Candidate("empty", 9, 0, true)}, 0, 1, {}, {}},
      {"ties go by name",
       {Candidate("b", 5, 1, true), Candidate("a", 5, 1, true)},
       0,
       1,
       {"a"},
       {}},
  };
  for (const Case& test : cases) {
    SCOPED_TRACE(test.name);
    EvictionGoal goal;
    if (test.idle_after_seconds > 0) goal.idle_after = absl::Seconds(test.idle_after_seconds);
    goal.pages_needed = test.pages_needed;
    const EvictionPlan plan = PlanEviction(test.candidates, kNow, goal);
    EXPECT_EQ(Ids(plan.evict), test.evict);
    EXPECT_EQ(Ids(plan.push_first), test.push_first);
  }
}

// Whatever the sessions: an unpushed one is taken only when all pushed ones are, enough is freed if
// there is enough, and the last one taken was needed.
TEST(EvictionTest, RandomWalk) {
  std::mt19937 random(7);
  for (int round = 0; round < 500; ++round) {
    std::vector<EvictionCandidate> candidates;
    int64_t total = 0;
    const int count = static_cast<int>(random() % 12);
    for (int i = 0; i < count; ++i) {
      candidates.push_back(Candidate(std::to_string(i), static_cast<int>(random() % 20),
                                     1 + static_cast<int64_t>(random() % 5), random() % 2 == 0));
      total += candidates.back().pages;
    }
    EvictionGoal goal;
    goal.pages_needed = static_cast<int64_t>(random() % 40);
    const EvictionPlan plan = PlanEviction(candidates, kNow, goal);
    const auto pages_of = [&](const SessionKey& key) {
      return candidates[static_cast<size_t>(std::stoi(key.session_id))].pages;
    };
    int64_t freed = 0;
    for (const SessionKey& key : plan.evict) freed += pages_of(key);
    for (const SessionKey& key : plan.push_first) freed += pages_of(key);
    EXPECT_GE(freed, std::min(goal.pages_needed, total));
    if (!plan.push_first.empty()) {
      size_t pushed = 0;
      for (const EvictionCandidate& candidate : candidates) pushed += candidate.pushed;
      EXPECT_EQ(plan.evict.size(), pushed);
      EXPECT_LT(freed - pages_of(plan.push_first.back()), goal.pages_needed);
    } else if (!plan.evict.empty()) {
      EXPECT_LT(freed - pages_of(plan.evict.back()), goal.pages_needed);
    }
  }
}

}  // namespace
}  // namespace lckv::worker
