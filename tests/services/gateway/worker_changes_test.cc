#include "services/gateway/worker_changes.h"

#include <gmock/gmock.h>

#include "absl/strings/str_cat.h"

namespace lckv::gateway {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr bool kFixed = true;
constexpr bool kConnected = true;

TEST(WorkerChangesTest, Decides) {
  const struct {
    const char* what;
    std::vector<KnownWorker> known;
    std::vector<std::string> resolved;
    size_t limit;
    WorkerChanges changes;
  } cases[] = {
      {"nothing known, nothing named", {}, {}, 9, {{}, {}, 0}},
      {"new ones, in their order", {}, {"b", "a"}, 9, {{"b", "a"}, {}, 0}},
      {"named twice", {}, {"a", "a"}, 9, {{"a"}, {}, 0}},
      {"known already, connected", {{3, "a", !kFixed, kConnected}}, {"a"}, 9, {{}, {}, 0}},
      {"known already, not connected", {{3, "a", !kFixed, !kConnected}}, {"a"}, 9, {{}, {}, 0}},
      {"gone and dead", {{3, "a", !kFixed, !kConnected}}, {"b"}, 9, {{"b"}, {3}, 0}},
      {"gone and alive", {{3, "a", !kFixed, kConnected}}, {"b"}, 9, {{"b"}, {}, 0}},
      {"all gone, one dead",
       {{3, "a", !kFixed, kConnected}, {5, "b", !kFixed, !kConnected}},
       {},
       9,
       {{}, {5}, 0}},
      {"named by a flag, dead", {{0, "a", kFixed, !kConnected}}, {"b"}, 9, {{"b"}, {}, 0}},
      {"named by a flag and by the look-up", {{0, "a", kFixed, kConnected}}, {"a"}, 9, {{}, {}, 0}},
      {"over the limit", {{0, "a", !kFixed, kConnected}}, {"a", "b", "c", "d"}, 2, {{"b"}, {}, 2}},
      {"one goes, one fits",
       {{0, "a", !kFixed, !kConnected}, {1, "b", !kFixed, kConnected}},
       {"c", "d"},
       2,
       {{"c"}, {0}, 1}},
      {"more than the limit by flags",
       {{0, "a", kFixed, kConnected}, {1, "b", kFixed, kConnected}},
       {"c"},
       1,
       {{}, {}, 1}},
  };
  for (const auto& [what, known, resolved, limit, changes] : cases) {
    const WorkerChanges decided = DecideWorkerChanges(known, resolved, limit);
    EXPECT_EQ(decided.add, changes.add) << what;
    EXPECT_EQ(decided.remove, changes.remove) << what;
    EXPECT_EQ(decided.left_out, changes.left_out) << what;
  }
}

// Whatever the look-ups say, no connected worker is removed.
TEST(WorkerChangesTest, AConnectedWorkerStays) {
  for (unsigned named = 0; named < 16; ++named) {
    for (unsigned connected = 0; connected < 16; ++connected) {
      std::vector<KnownWorker> known;
      std::vector<std::string> resolved;
      for (unsigned i = 0; i < 4; ++i) {
        known.push_back({i, absl::StrCat(i), false, (connected >> i & 1) != 0});
        if (named >> i & 1) resolved.push_back(absl::StrCat(i));
      }
      const WorkerChanges changes = DecideWorkerChanges(known, resolved, 4);
      EXPECT_THAT(changes.add, IsEmpty());
      for (const size_t number : changes.remove) EXPECT_FALSE(connected >> number & 1);
      EXPECT_EQ(changes.remove.size(),
                static_cast<size_t>(__builtin_popcount(~(named | connected) & 15u)));
    }
  }
}

}  // namespace
}  // namespace lckv::gateway
