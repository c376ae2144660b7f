#include "services/gateway/router.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "absl/strings/str_cat.h"
#include "base/error_info.h"
#include "tests/testing/status_matchers.h"

namespace lckv::gateway {
namespace {

using lckv::testing::StatusIs;
using State = WorkerState;

struct Case {
  const char* what;
  std::vector<WorkerView> workers;
  std::string holder;
  std::vector<std::string> excluded;
  std::string want;  // worker id, or the reason of the error
  bool want_takeover = false;
};

WorkerView Ready(const std::string& id, uint32_t turns = 0, bool full = false) {
  return {id, State::kReady, turns, full};
}
WorkerView In(State state, const std::string& id) { return {id, state, 0, false}; }

TEST(RouterTest, Table) {
  const Case cases[] = {
      {"the holder, however busy", {Ready("a", 0), Ready("b", 90)}, "b", {}, "b"},
      {"without a holder the least loaded", {Ready("a", 5), Ready("b", 3)}, "", {}, "b"},
      {"an unknown holder does not matter", {Ready("a", 5), Ready("b", 3)}, "z", {}, "b"},
      {"a draining holder is left, with takeover",
       {In(State::kDraining, "a"), Ready("b", 9)},
       "a",
       {},
       "b",
       true},
      {"so is a silent one", {In(State::kSuspect, "a"), Ready("b", 9)}, "a", {}, "b", true},
      {"an excluded holder is left", {Ready("a"), Ready("b", 9)}, "a", {"a"}, "b"},
      {"only ready workers",
       {In(State::kDead, "a"), In(State::kSuspect, "b"), In(State::kStarting, "c"),
        In(State::kDraining, "d"), Ready("e", 50)},
       "",
       {},
       "e"},
      {"a full queue is passed over", {Ready("a", 1, true), Ready("b", 9)}, "", {}, "b"},
      {"a full holder is not: the session is there",
       {Ready("a", 1, true), Ready("b", 0)},
       "a",
       {},
       kReasonQueueFull},
      {"all full", {Ready("a", 1, true), Ready("b", 1, true)}, "", {}, kReasonQueueFull},
      {"none at all", {}, "", {}, kReasonNoWorker},
      {"none ready", {In(State::kDead, "a"), In(State::kDraining, "b")}, "", {}, kReasonNoWorker},
      {"all excluded", {Ready("a"), Ready("b")}, "", {"a", "b"}, kReasonNoWorker},
      {"excluded and full", {Ready("a"), Ready("b", 1, true)}, "", {"a"}, kReasonQueueFull},
  };
  for (const Case& c : cases) {
    const auto route = ChooseWorker("session", {c.workers, c.holder}, c.excluded);
    EXPECT_EQ(route.ok() ? route->worker : ErrorReason(route.status()), c.want) << c.what;
    if (route.ok()) {
      EXPECT_EQ(route->takeover, c.want_takeover) << c.what;
    }
  }
}

TEST(RouterTest, ErrorsSayWhenToComeBack) {
  const auto none = ChooseWorker("s", {});
  EXPECT_THAT(none, StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_TRUE(GetRetryAfter(none.status()).has_value());
  const auto full = ChooseWorker("s", {{Ready("a", 0, true)}, ""});
  EXPECT_THAT(full, StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_TRUE(GetRetryAfter(full.status()).has_value());
}

TEST(RouterTest, TiesSpreadSessionsAndKeepEachInPlace) {
  const Placement all = {{Ready("a"), Ready("b"), Ready("c"), Ready("d")}, ""};
  const Placement without_c = {{Ready("d"), Ready("b"), Ready("a")}, ""};
  std::map<std::string, int> sessions;
  for (int i = 0; i < 4000; ++i) {
    const std::string session = absl::StrCat("session-", i);
    const std::string chosen = ChooseWorker(session, all)->worker;
    ++sessions[chosen];
    // Another order, and one worker less: only that worker's sessions move.
    if (chosen != "c") {
      EXPECT_EQ(ChooseWorker(session, without_c)->worker, chosen);
    }
  }
  for (const char* worker : {"a", "b", "c", "d"}) {
    EXPECT_GT(sessions[worker], 800) << worker;
    EXPECT_LT(sessions[worker], 1200) << worker;
  }
}

}  // namespace
}  // namespace lckv::gateway
