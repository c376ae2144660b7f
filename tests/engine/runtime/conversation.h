#pragma once

// A scripted conversation and what it leaves behind: the yardstick of the engine's bitwise tests.

#include <gtest/gtest.h>

#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "tests/engine/runtime/engine_harness.h"

namespace lckv::testing {

struct ModelCase {
  std::string name;
  std::string path;
  friend std::ostream& operator<<(std::ostream& out, const ModelCase& model) {
    return out << model.name;
  }
};

// The trained model, and maps that differ in kind: windows in a cyclic group, two groups, every
// layer a producer, acyclic.
inline std::vector<ModelCase> ModelCases() {
  return {{"bard", BardPath()},
          {"window", GoldenModelPath("lckv-window")},
          {"two_groups", GoldenModelPath("two-groups")},
          {"odd_map", GoldenModelPath("odd-map")},
          {"yoco", GoldenModelPath("yoco")}};
}

// How one session is set up and what is said in it. The first input is iterated and crosses pages,
// the second is exact (n <= K).
struct Script {
  std::string name;
  EncodePolicy policy;
  SamplingOptions sampling;
  std::vector<size_t> inputs = {26, 5, 12};
  int32_t answer_tokens = 8;
};

inline std::vector<Script> Scripts() {
  return {{"greedy", {}, {}},
          {"sampled", {}, Seeded(17)},
          {"three_passes", {false, 3}, {1.3f, 40, 1, 0.02f, 18}},
          {"sequential", {true, 0}, Seeded(19)}};
}

inline std::vector<int32_t> InputOf(const Engine& engine, const Script& script, size_t turn) {
  return RandomTokens(script.inputs[turn], engine.config().vocab_size,
                      static_cast<uint32_t>(100 + turn));
}

inline TurnRequest TurnOf(const Engine& engine, const Script& script, const std::string& session,
                          size_t turn) {
  return MakeTurn(session, InputOf(engine, script, turn), script.answer_tokens, script.sampling);
}

struct Conversation {
  std::vector<std::vector<int32_t>> answers;  // of each turn
  std::vector<SessionExport> states;          // after each turn
};

// Holds the conversations of all scripts side by side, each in a session of its script's name;
// `during` is called in each turn, when all of them have been submitted.
template <typename F>
std::vector<Conversation> HoldAll(Engine& engine, const std::vector<Script>& scripts, F&& during) {
  std::vector<Conversation> conversations(scripts.size());
  for (const Script& script : scripts) OpenEmpty(engine, script.name, script.policy);
  for (size_t turn = 0; turn < scripts[0].inputs.size(); ++turn) {
    std::vector<std::shared_ptr<TurnStream>> streams;
    for (const Script& script : scripts) {
      streams.push_back(Start(engine, TurnOf(engine, script, script.name, turn)));
    }
    during(turn);
    for (size_t i = 0; i < scripts.size(); ++i) {
      const TurnResult result = Await(*streams[i]);
      EXPECT_OK(result.outcome.status);
      EXPECT_EQ(result.outcome.finish_reason, FinishReason::kLength);
      EXPECT_EQ(result.outcome.reencoded_tokens, 0);
      conversations[i].answers.push_back(result.tokens);
      conversations[i].states.push_back(ExportAll(engine, scripts[i].name));
    }
  }
  for (const Script& script : scripts) EXPECT_OK(engine.CloseSession(script.name));
  return conversations;
}

// With nothing else going on.
inline Conversation HoldAlone(Engine& engine, const Script& script) {
  return HoldAll(engine, {script}, [](size_t) {})[0];
}

inline void ExpectSame(const Conversation& a, const Conversation& b, const std::string& what) {
  EXPECT_EQ(a.answers, b.answers) << what;
  ASSERT_EQ(a.states.size(), b.states.size());
  for (size_t turn = 0; turn < a.states.size(); ++turn) {
    EXPECT_TRUE(SameState(a.states[turn], b.states[turn])) << what << ", turn " << turn;
  }
}

}  // namespace lckv::testing
