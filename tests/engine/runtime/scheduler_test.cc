#include "engine/runtime/scheduler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <ostream>
#include <random>
#include <vector>

namespace lckv {

static bool operator==(const StepPick& a, const StepPick& b) {
  return a.turn == b.turn && a.max_rows == b.max_rows && a.takes_slot == b.takes_slot;
}
static std::ostream& operator<<(std::ostream& out, const StepPick& pick) {
  return out << "turn " << pick.turn << ": " << pick.max_rows << (pick.takes_slot ? " +slot" : "");
}

namespace {

using Turns = std::vector<SchedulableTurn>;
using Picks = std::vector<StepPick>;

SchedulableTurn Decode(bool ready = true) { return {ready, true, false, false, -1, 0}; }
// A replayed token or a chunk of an acyclic map: all layers at once.
SchedulableTurn Whole(int32_t rows, bool ready = true) {
  return {ready, false, false, false, -1, rows};
}
SchedulableTurn Staged(int32_t stage, int32_t rows, bool has_slot, bool ready = true) {
  return {ready, false, true, has_slot, stage, rows};
}

TEST(SchedulerTest, Table) {
  const struct {
    const char* what;
    Turns turns;
    ScheduleLimits limits;
    Picks picks;
  } cases[] = {
      {"nothing", {}, {64, 4}, {}},
      {"decoding is free of the budget",
       {Decode(), Whole(64), Decode(), Decode()},
       {64, 4},
       {{0, 1, false}, {1, 64, false}, {2, 1, false}, {3, 1, false}}},
      {"who is not ready waits",
       {Decode(false), Whole(5, false), Decode()},
       {64, 4},
       {{2, 1, false}}},
      {"first come, first served",
       {Whole(40), Whole(40), Whole(40)},
       {64, 4},
       {{0, 40, false}, {1, 24, false}}},
      {"one turn may take it all, decoding behind it goes on",
       {Whole(500), Whole(3), Decode()},
       {64, 4},
       {{0, 64, false}, {2, 1, false}}},
      {"a turn that is not ready takes no budget",
       {Whole(64, false), Whole(64)},
       {64, 4},
       {{1, 64, false}}},
      {"staged turns of one stage join",
       {Staged(1, 10, true), Staged(1, 10, true), Staged(1, 100, true)},
       {64, 0},
       {{0, 10, false}, {1, 10, false}, {2, 44, false}}},
      {"the oldest fixes the stage, others wait, whole rows do not",
       {Staged(1, 10, true), Staged(0, 10, true), Whole(7), Staged(1, 5, true)},
       {64, 0},
       {{0, 10, false}, {2, 7, false}, {3, 5, false}}},
      {"slots go out in order until there are none",
       {Staged(0, 8, false), Staged(0, 8, false), Staged(0, 8, false)},
       {64, 2},
       {{0, 8, true}, {1, 8, true}}},
      {"without a slot the oldest cannot fix the stage",
       {Staged(0, 8, false), Staged(2, 8, true)},
       {64, 0},
       {{1, 8, false}}},
      {"a turn of another stage takes no slot",
       {Staged(1, 8, true), Staged(0, 8, false), Staged(1, 8, false)},
       {64, 1},
       {{0, 8, false}, {2, 8, true}}},
      {"no budget, no slot taken",
       {Whole(64), Staged(0, 8, false), Decode()},
       {64, 1},
       {{0, 64, false}, {2, 1, false}}},
      {"one token a step is enough for everyone to get on in turn",
       {Staged(0, 8, true), Whole(3)},
       {1, 0},
       {{0, 1, false}}},
  };
  for (const auto& c : cases) EXPECT_EQ(Schedule(c.turns, c.limits), c.picks) << c.what;
}

// A turn of the random walk: stages to encode (rows each), then tokens to decode.
struct Turn {
  std::vector<int32_t> stages;
  bool staged = false;
  int32_t decode_left = 0;
  bool has_slot = false;
  size_t stage = 0;
  bool ready = true;

  bool decoding() const { return stage == stages.size(); }
  bool done() const { return decoding() && decode_left == 0; }
  SchedulableTurn View() const {
    if (decoding()) return Decode(ready);
    return staged ? Staged(static_cast<int32_t>(stage), stages[stage], has_slot, ready)
                  : Whole(stages[stage], ready);
  }
};

class Walk {
 public:
  Walk(ScheduleLimits limits, uint32_t seed)
      : step_tokens_(limits.step_tokens), free_slots_(limits.free_slots), random_(seed) {}

  size_t size() const { return turns_.size(); }

  void Arrive() {
    Turn turn;
    turn.staged = random_() % 2 == 0;
    for (uint32_t i = 1 + random_() % 3; i > 0; --i) {
      turn.stages.push_back(static_cast<int32_t>(1 + random_() % 100));
    }
    turn.decode_left = static_cast<int32_t>(random_() % 20);
    turns_.push_back(std::move(turn));
  }

  void Step(bool with_pauses) {
    Turns views;
    for (Turn& turn : turns_) {
      turn.ready = !with_pauses || random_() % 4 != 0;
      views.push_back(turn.View());
    }
    const Picks picks = Schedule(views, {step_tokens_, free_slots_});
    Check(views, picks);
    for (const StepPick& pick : picks) Apply(turns_[pick.turn], pick);
    for (const Turn& turn : turns_) {
      if (turn.done() && turn.has_slot) ++free_slots_;
    }
    std::erase_if(turns_, [](const Turn& turn) { return turn.done(); });
  }

 private:
  void Check(const Turns& views, const Picks& picks) const {
    std::vector<int32_t> rows(views.size(), 0);
    int32_t encode_rows = 0, slots = 0, stage = -1;
    for (size_t i = 0; i < picks.size(); ++i) {
      const SchedulableTurn& view = views[picks[i].turn];
      ASSERT_TRUE(i == 0 || picks[i - 1].turn < picks[i].turn);
      ASSERT_TRUE(view.ready);
      ASSERT_GT(picks[i].max_rows, 0);
      rows[picks[i].turn] = picks[i].max_rows;
      slots += picks[i].takes_slot ? 1 : 0;
      ASSERT_EQ(picks[i].takes_slot, view.needs_slot && !view.has_slot);
      if (view.decode) continue;
      encode_rows += picks[i].max_rows;
      ASSERT_LE(picks[i].max_rows, view.waiting_rows);
      if (!view.needs_slot) continue;
      ASSERT_TRUE(stage < 0 || stage == view.stage);
      stage = view.stage;
    }
    ASSERT_LE(encode_rows, step_tokens_);
    ASSERT_LE(slots, free_slots_);
    bool oldest = true;  // of those that encode and can run
    for (size_t i = 0; i < views.size(); ++i) {
      if (!views[i].ready) continue;
      const bool can_run = !views[i].needs_slot || views[i].has_slot || free_slots_ > 0;
      if (views[i].decode) {
        ASSERT_EQ(rows[i], 1) << "decoding never waits";
      } else if (can_run && oldest) {
        ASSERT_EQ(rows[i], std::min(step_tokens_, views[i].waiting_rows)) << "the oldest gets on";
        oldest = false;
      }
    }
  }

  void Apply(Turn& turn, const StepPick& pick) {
    if (turn.decoding()) {
      --turn.decode_left;
      return;
    }
    if (pick.takes_slot) {
      turn.has_slot = true;
      --free_slots_;
    }
    int32_t& left = turn.stages[turn.stage];
    left -= std::min(left, pick.max_rows);
    if (left > 0) return;
    ++turn.stage;
    if (turn.decoding() && turn.has_slot) {
      turn.has_slot = false;
      ++free_slots_;
    }
  }

  const int32_t step_tokens_;
  int32_t free_slots_;
  std::vector<Turn> turns_;
  std::mt19937 random_;
};

TEST(SchedulerTest, RandomWalkStarvesNobody) {
  for (uint32_t seed = 0; seed < 60; ++seed) {
    Walk walk({seed % 3 == 0 ? 1 : 64, 1 + static_cast<int32_t>(seed % 4)}, seed);
    for (int i = 0; i < 300; ++i) {
      if (i % 5 == 0) walk.Arrive();
      walk.Step(/*with_pauses=*/true);
      ASSERT_FALSE(HasFatalFailure()) << "seed " << seed;
    }
    // No turn has more than 320 steps in it, and in each step one at least gets on.
    const size_t most = walk.size() * 320;
    size_t steps = 0;
    for (; walk.size() > 0 && steps <= most; ++steps) walk.Step(/*with_pauses=*/false);
    ASSERT_LE(steps, most) << "seed " << seed;
  }
}

}  // namespace
}  // namespace lckv
