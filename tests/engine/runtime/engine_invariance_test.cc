// Design rules 3 and 4 on whole engines: tokens and KV of a session are a function of the session
// alone. The same conversation gives the same bits alone and in a crowd, however its work is cut
// into steps, with any number of threads and encode slots.

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "engine/runtime/evaluator.h"
#include "engine/sampling/sampler.h"
#include "engine/transformer/model.h"
#include "tests/engine/runtime/conversation.h"

namespace lckv {
namespace {

using namespace testing;  // NOLINT: the harness

// Seventeen sessions that keep the engine busy in every way there is.
class Crowd {
 public:
  explicit Crowd(Engine& engine) : engine_(engine) {
    for (int i = 0; i < 5; ++i) Join("decoding", {}, 8, 400, kEndless);
    for (auto& stream : streams_) EXPECT_TRUE(stream->PopWithTimeout(kPatience).has_value());
    for (int i = 0; i < 3; ++i) Join("paused", {}, 5, 300, 2);
    for (int i = 0; i < 2; ++i) Join("encoding", {}, 90, 20, kEndless);
    Join("few_passes", {false, 2}, 70, 20, kEndless);
    for (int i = 0; i < 2; ++i) Join("one_by_one", {true, 0}, 150, 20, kEndless);
    Replay();
    for (int i = 0; i < 3; ++i) {
      cancelled_.push_back(names_.size());
      Join("cancelled", {}, 40, 300, kEndless);
    }
    EXPECT_EQ(names_.size(), 17u);
  }

  // Cancels some turns wherever they are and starts others in their place.
  void Stir(size_t round) {
    for (size_t i : cancelled_) {
      engine_.Cancel(names_[i]);
      Await(*streams_[i]);
      EXPECT_OK(engine_.Truncate(names_[i], 3));
      streams_[i] =
          Start(engine_, MakeTurn(names_[i], Tokens(20 + 30 * round), 300, Seeded(i)), kEndless);
    }
  }

  void Leave() {
    for (const std::string& name : names_) EXPECT_OK(engine_.CloseSession(name));
  }

 private:
  static constexpr size_t kEndless = 1 << 20;

  std::vector<int32_t> Tokens(size_t count) {
    return RandomTokens(count, engine_.config().vocab_size, ++seed_);
  }

  void Join(const char* kind, EncodePolicy policy, size_t input, int32_t max_tokens,
            size_t capacity) {
    names_.push_back(absl::StrCat(kind, names_.size()));
    OpenEmpty(engine_, names_.back(), policy);
    streams_.push_back(Start(
        engine_, MakeTurn(names_.back(), Tokens(input), max_tokens, Seeded(seed_)), capacity));
  }

  // A session that lost its KV: its segments and generated tokens are evaluated again.
  void Replay() {
    names_.push_back("replayed");
    EXPECT_OK(engine_.OpenSession(
        names_.back(), {}, {Tokens(90), {{40, false}, {20, true}, {30, false}}, 0}, nullptr));
    streams_.push_back(Start(engine_, MakeTurn(names_.back(), Tokens(7), 20), kEndless));
  }

  Engine& engine_;
  uint32_t seed_ = 0;
  std::vector<std::string> names_;
  std::vector<std::shared_ptr<TurnStream>> streams_;
  std::vector<size_t> cancelled_;
};

class InvarianceTest : public ::testing::TestWithParam<ModelCase> {};

TEST_P(InvarianceTest, AloneAndAmongSeventeenOthers) {
  const std::vector<Script> scripts = Scripts();
  std::vector<Conversation> alone;
  const auto quiet = MakeEngine(GetParam().path, SmallOptions());
  for (const Script& script : scripts) alone.push_back(HoldAlone(*quiet, script));

  const auto crowded = MakeEngine(GetParam().path, SmallOptions());
  Crowd crowd(*crowded);
  const std::vector<Conversation> among =
      HoldAll(*crowded, scripts, [&](size_t turn) { crowd.Stir(turn); });
  EXPECT_GE(crowded->load().running_turns, 8) << "the crowd had gone home";
  for (size_t i = 0; i < scripts.size(); ++i) ExpectSame(alone[i], among[i], scripts[i].name);
  crowd.Leave();
  ExpectNothingLeft(*crowded, {});
}

TEST_P(InvarianceTest, HoweverTheWorkIsCut) {
  const std::vector<Script> scripts = Scripts();
  const struct {
    int step_tokens, encode_slots, threads;
  } setups[] = {{64, 4, 2}, {1, 4, 1}, {7, 1, 2}, {64, 1, 1}, {256, 4, 2}};
  std::vector<Conversation> expected;
  for (const auto& setup : setups) {
    EngineOptions options = SmallOptions();
    options.step_tokens = setup.step_tokens;
    options.encode_slots = setup.encode_slots;
    const auto engine = MakeEngine(GetParam().path, options, setup.threads);
    const std::vector<Conversation> actual = HoldAll(*engine, scripts, [](size_t) {});
    if (expected.empty()) expected = actual;
    for (size_t i = 0; i < scripts.size(); ++i) {
      ExpectSame(expected[i], actual[i],
                 absl::StrCat(scripts[i].name, " with step_tokens ", setup.step_tokens, ", slots ",
                              setup.encode_slots, ", threads ", setup.threads));
    }
  }
}

// The evaluator, whose logits the golden data check, chooses the same tokens from its own logits.
TEST_P(InvarianceTest, TheEvaluatorWouldHaveSaidTheSame) {
  const auto engine = MakeEngine(GetParam().path, SmallOptions());
  ASSERT_OK_AND_ASSIGN(auto checkpoint, Checkpoint::Open(GetParam().path, {}));
  ASSERT_OK_AND_ASSIGN(auto backend, MakeCpuBackend({1, ""}));
  ASSERT_OK_AND_ASSIGN(auto model, Model::Load(*checkpoint, backend.get(), "", 512));
  Evaluator::Options options;
  options.kv_dtype = DType::kBf16;
  options.max_tokens = 512;
  options.chunk = 5;
  ASSERT_OK_AND_ASSIGN(auto evaluator, Evaluator::Create(model.get(), options));

  for (const Script& script : Scripts()) {
    const Conversation conversation = HoldAlone(*engine, script);
    const SessionTranscript& transcript = conversation.states.back().transcript;
    std::vector<int32_t> next(transcript.tokens.size());
    Sampler sampler;
    ASSERT_OK(evaluator->Evaluate(
        transcript.tokens, transcript.segments, engine->passes(script.policy),
        [&](int32_t position, absl::Span<const float> logits) {
          next[static_cast<size_t>(position)] =
              sampler.Sample(logits, script.sampling, static_cast<uint64_t>(position) + 1);
        }));
    size_t position = 0;
    for (size_t turn = 0; turn < script.inputs.size(); ++turn) {
      position += script.inputs[turn];
      for (int32_t token : conversation.answers[turn]) {
        EXPECT_EQ(token, next[position - 1]) << script.name << " at " << position;
        EXPECT_EQ(token, transcript.tokens[position]);
        ++position;
      }
    }
    EXPECT_EQ(position, transcript.tokens.size());
  }
}

INSTANTIATE_TEST_SUITE_P(Models, InvarianceTest, ::testing::ValuesIn(ModelCases()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace lckv
