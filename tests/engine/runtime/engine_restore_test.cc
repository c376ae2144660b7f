// Design rules 1 and 2 on whole engines: a session that was exported, closed and opened again goes
// on bit for bit as if nothing had happened, wherever it was cut, whatever of its pages came back,
// and the outcome says what had to be computed again.

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "tests/engine/runtime/conversation.h"

namespace lckv {
namespace {

using namespace testing;  // NOLINT: the harness

EngineOptions RestoreOptions() {
  EngineOptions options = SmallOptions();
  options.max_running_turns = 24;
  return options;
}

// A turn under way and how it has to end.
struct Expected {
  std::string session;
  std::shared_ptr<TurnStream> stream;
  std::vector<int32_t> tokens;
  const SessionExport* state;
  int32_t cached;
  int32_t reencoded;
};

class RestoreTest : public ::testing::TestWithParam<ModelCase> {
 protected:
  void SetUp() override { engine_ = MakeEngine(GetParam().path, RestoreOptions()); }

  bool cyclic() const { return engine_->config().layer_map.cyclic(); }
  int32_t Usable(const SessionExport& state, int32_t kv_tokens) const {
    return UsableKvTokens(state.transcript.segments, kv_tokens, cyclic());
  }

  void Finish(const std::vector<Expected>& turns) {
    for (const Expected& turn : turns) {
      const TurnResult result = Await(*turn.stream);
      EXPECT_OK(result.outcome.status);
      EXPECT_EQ(result.tokens, turn.tokens) << turn.session;
      EXPECT_EQ(result.outcome.cached_tokens, turn.cached) << turn.session;
      EXPECT_EQ(result.outcome.reencoded_tokens, turn.reencoded) << turn.session;
      EXPECT_TRUE(SameState(ExportAll(*engine_, turn.session), *turn.state)) << turn.session;
      EXPECT_OK(engine_->CloseSession(turn.session));
    }
    ExpectNothingLeft(*engine_, {});
  }

  std::unique_ptr<Engine> engine_;
};

TEST_P(RestoreTest, WithTheKvOfAnyNumberOfTokens) {
  for (const Script& script : Scripts()) {
    if (script.name == "greedy") continue;  // as "sampled" but for the sampling
    const Conversation whole = HoldAlone(*engine_, script);
    const SessionExport& before = whole.states[1];
    const auto tokens = static_cast<int32_t>(before.transcript.tokens.size());
    ASSERT_GT(engine_->page_layout().PagesFor(tokens), 2);
    ASSERT_EQ(before.transcript.kv_tokens, tokens - 1);
    std::vector<Expected> turns;
    for (int32_t kv_tokens = 0; kv_tokens < tokens; ++kv_tokens) {
      const std::string session = absl::StrCat(script.name, " with KV of ", kv_tokens);
      ASSERT_OK(OpenFrom(*engine_, session, script.policy, before, tokens, kv_tokens));
      const int32_t usable = Usable(before, kv_tokens);
      turns.push_back({session, Start(*engine_, TurnOf(*engine_, script, session, 2)),
                       whole.answers[2], &whole.states[2], usable, tokens - 1 - usable});
    }
    Finish(turns);
  }
}

// Moved in the middle of an answer, at every token of it, with all KV or none.
TEST_P(RestoreTest, AtEveryTokenOfAnAnswer) {
  for (const Script& script : Scripts()) {
    const Conversation whole = HoldAlone(*engine_, script);
    std::vector<Expected> turns;
    for (size_t turn = 0; turn < script.inputs.size(); ++turn) {
      const SessionExport& after = whole.states[turn];
      const auto end = static_cast<int32_t>(after.transcript.tokens.size());
      for (int32_t left = 1; left < script.answer_tokens; ++left) {
        const int32_t tokens = end - left;
        const int32_t kv_tokens = left % 3 == 0 && turn == 2 ? 0 : tokens - 1;
        const std::string session = absl::StrCat(script.name, " at ", tokens);
        ASSERT_OK(OpenFrom(*engine_, session, script.policy, after, tokens, kv_tokens));
        const std::vector<int32_t> rest(whole.answers[turn].end() - left,
                                        whole.answers[turn].end());
        turns.push_back({session, Start(*engine_, MakeTurn(session, {}, left, script.sampling)),
                         rest, &after, kv_tokens, tokens - 1 - kv_tokens});
      }
    }
    Finish(turns);
  }
}

// Under the sequential policy every token is a segment, so inputs may be cut anywhere too.
TEST_P(RestoreTest, AtEveryTokenOfASequentialSession) {
  const Script script = Scripts()[3];
  ASSERT_TRUE(script.policy.sequential);
  const Conversation whole = HoldAlone(*engine_, script);
  std::vector<Expected> turns;
  int32_t begin = 0;
  for (size_t turn = 0; turn < script.inputs.size(); ++turn) {
    const SessionExport& after = whole.states[turn];
    const std::vector<int32_t> input = InputOf(*engine_, script, turn);
    for (int32_t i = 1; i <= static_cast<int32_t>(input.size()); ++i) {
      const int32_t tokens = begin + i;
      const std::string session = absl::StrCat("at ", tokens);
      ASSERT_OK(OpenFrom(*engine_, session, script.policy, after, tokens, tokens));
      const std::vector<int32_t> rest(input.begin() + i, input.end());
      // With nothing left to read the last token is evaluated again, for its logits.
      const int32_t cached = rest.empty() ? tokens - 1 : tokens;
      turns.push_back(
          {session, Start(*engine_, MakeTurn(session, rest, script.answer_tokens, script.sampling)),
           whole.answers[turn], &after, cached, 0});
    }
    begin = static_cast<int32_t>(after.transcript.tokens.size());
  }
  Finish(turns);
}

// A stream that broke after k tokens is continued by an engine that has the session as it was
// before the turn, with its KV or without.
TEST_P(RestoreTest, ResumedAtEveryToken) {
  for (const Script& script : Scripts()) {
    const Conversation whole = HoldAlone(*engine_, script);
    std::vector<Expected> turns;
    for (size_t turn = 1; turn < script.inputs.size(); ++turn) {
      const SessionExport& before = whole.states[turn - 1];
      const auto tokens = static_cast<int32_t>(before.transcript.tokens.size());
      for (int32_t k = 0; k < script.answer_tokens; ++k) {
        const int32_t kv_tokens = k % 4 == 3 ? 0 : tokens - 1;
        const std::string session = absl::StrCat(script.name, " turn ", turn, " after ", k);
        ASSERT_OK(OpenFrom(*engine_, session, script.policy, before, tokens, kv_tokens));
        TurnRequest request = TurnOf(*engine_, script, session, turn);
        const std::vector<int32_t>& answer = whole.answers[turn];
        request.resume_from.assign(answer.begin(), answer.begin() + k);
        const std::vector<int32_t> rest(answer.begin() + k, answer.end());
        const auto input = static_cast<int32_t>(script.inputs[turn]);
        const int32_t computed = k == 0 ? tokens - 1 : tokens + input + k - 1;
        turns.push_back({session, Start(*engine_, request), rest, &whole.states[turn], kv_tokens,
                         computed - kv_tokens});
      }
    }
    Finish(turns);
  }
}

TEST_P(RestoreTest, AResumedTurnThatHasEndedEndsAgain) {
  const Script script = Scripts()[1];
  const Conversation whole = HoldAlone(*engine_, script);
  const std::vector<int32_t>& answer = whole.answers[1];
  const auto resume = [&](const std::string& session, auto&& change) {
    EXPECT_OK(OpenFrom(*engine_, session, script.policy, whole.states[0], 34, 0));
    TurnRequest request = TurnOf(*engine_, script, session, 1);
    request.resume_from = answer;
    change(request);
    const TurnResult result = RunTurn(*engine_, request);
    EXPECT_TRUE(result.tokens.empty());
    EXPECT_EQ(result.outcome.generated_tokens, static_cast<int32_t>(request.resume_from.size()));
    EXPECT_EQ(result.outcome.reencoded_tokens, 0) << "nothing was computed";
    EXPECT_EQ(ExportAll(*engine_, session).transcript.segments,
              whole.states[1].transcript.segments);
    return result.outcome.finish_reason;
  };
  EXPECT_EQ(resume("length", [](TurnRequest&) {}), FinishReason::kLength);
  EXPECT_EQ(resume("stop",
                   [&](TurnRequest& request) {
                     request.max_tokens = 100;
                     request.stop_tokens = {answer.back()};
                   }),
            FinishReason::kStop);
  // The next turn goes on as if nothing had happened.
  for (const char* session : {"length", "stop"}) {
    EXPECT_EQ(RunTurn(*engine_, TurnOf(*engine_, script, session, 2)).tokens, whole.answers[2]);
    EXPECT_TRUE(SameState(ExportAll(*engine_, session), whole.states[2]));
  }
  ExpectNothingLeft(*engine_, {"length", "stop"});
}

// Cutting a session anywhere and going on equals never having had the tail.
TEST_P(RestoreTest, TruncatedAnywhere) {
  for (const Script& script : Scripts()) {
    if (script.name == "greedy") continue;
    const Conversation whole = HoldAlone(*engine_, script);
    const SessionExport& full = whole.states[1];
    const auto tokens = static_cast<int32_t>(full.transcript.tokens.size());
    const int32_t stride = GetParam().name == "bard" ? 6 : 1;
    for (int32_t cut = 1; cut <= tokens; cut += stride) {
      ASSERT_OK(OpenFrom(*engine_, "cut", script.policy, full, tokens, tokens - 1));
      ASSERT_OK(engine_->Truncate("cut", cut));
      EXPECT_LE(engine_->load().pages_used, engine_->page_layout().PagesFor(cut));
      ASSERT_OK(OpenFrom(*engine_, "short", script.policy, full, cut, 0));
      auto stream = Start(*engine_, MakeTurn("cut", InputOf(*engine_, script, 2), 3, Seeded(4)));
      const TurnResult expected =
          RunTurn(*engine_, MakeTurn("short", InputOf(*engine_, script, 2), 3, Seeded(4)));
      EXPECT_EQ(Await(*stream).tokens, expected.tokens) << script.name << " cut to " << cut;
      EXPECT_TRUE(SameState(ExportAll(*engine_, "cut"), ExportAll(*engine_, "short")))
          << script.name << " cut to " << cut;
      ExpectNothingLeft(*engine_, {"cut", "short"});
    }
  }
}

// What an earlier owner left in a page never gets out of the engine.
TEST_P(RestoreTest, ExportsAreZeroAfterTheLastToken) {
  const auto tokens = [&](size_t count, uint32_t seed) {
    return RandomTokens(count, engine_->config().vocab_size, seed);
  };
  // Fill pages, give them back, and use the same ones for less.
  OpenEmpty(*engine_, "earlier");
  RunTurn(*engine_, MakeTurn("earlier", tokens(60, 1), 30));
  ExpectNothingLeft(*engine_, {"earlier"});
  const PageLayout& layout = engine_->page_layout();
  for (size_t input : {1, 7, 15, 16, 17, 30}) {
    OpenEmpty(*engine_, "s");
    RunTurn(*engine_, MakeTurn("s", tokens(input, 2), 2));
    const SessionExport state = ExportAll(*engine_, "s");
    const auto held = static_cast<int64_t>(input) + 1;
    ASSERT_EQ(state.transcript.kv_tokens, held);
    ASSERT_EQ(static_cast<int64_t>(state.pages.size()), layout.PagesFor(held));
    const int64_t in_last = held - (layout.PagesFor(held) - 1) * layout.tokens_per_page();
    int64_t position = 0;  // walks the page as design section 6 writes it
    for (const ProducerLayout& producer : layout.producers()) {
      const int64_t row = BytesOf(layout.dtype(), producer.head_dim);
      for (int block = 0; block < 2 * producer.kv_heads; ++block) {
        for (int64_t t = 0; t < layout.tokens_per_page(); ++t, position += row) {
          const auto from = state.pages.back().begin() + position;
          const bool zero = std::all_of(from, from + row, [](uint8_t byte) { return byte == 0; });
          EXPECT_EQ(zero, t >= in_last) << "token " << t << " of " << held;
        }
      }
    }
    EXPECT_TRUE(std::all_of(state.pages.back().begin() + position, state.pages.back().end(),
                            [](uint8_t byte) { return byte == 0; }));
    ExpectNothingLeft(*engine_, {"s"});
  }
}

TEST_P(RestoreTest, ExportsFromAPageOnAndWhileATurnRuns) {
  OpenEmpty(*engine_, "s");
  const auto input = RandomTokens(40, engine_->config().vocab_size, 1);
  auto stream = Start(*engine_, MakeTurn("s", input, 30), 1);
  ASSERT_TRUE(stream->PopWithTimeout(kPatience).has_value());
  const SessionExport early = ExportAll(*engine_, "s");
  ASSERT_GE(early.transcript.kv_tokens, 40);
  EXPECT_EQ(early.transcript.tokens.size(), static_cast<size_t>(early.transcript.kv_tokens) + 1);
  Await(*stream);
  const SessionExport whole = ExportAll(*engine_, "s");
  ASSERT_EQ(whole.pages.size(), 5u);
  EXPECT_EQ(early.pages[0], whole.pages[0]);
  EXPECT_EQ(early.pages[1], whole.pages[1]);
  for (int32_t first = 0; first <= 6; ++first) {
    ASSERT_OK_AND_ASSIGN(const SessionExport part, engine_->Export("s", first, 9));
    EXPECT_EQ(part.first_page, first);
    ASSERT_EQ(static_cast<int32_t>(part.pages.size()), std::max(0, 5 - first));
    for (size_t i = 0; i < part.pages.size(); ++i) {
      EXPECT_EQ(part.pages[i], whole.pages[static_cast<size_t>(first) + i]);
    }
  }
  EXPECT_THAT(engine_->Export("s", -1, 9), StatusIs(absl::StatusCode::kInvalidArgument));
  ExpectNothingLeft(*engine_, {"s"});
}

INSTANTIATE_TEST_SUITE_P(Models, RestoreTest, ::testing::ValuesIn(ModelCases()),
                         [](const auto& info) { return info.param.name; });

// An input over kMaxSegmentTokens is several segments, and stays so when it is replayed.
TEST(LongInputTest, IsCutAndReplayedInTheSamePieces) {
  constexpr char kConfig[] = R"({"model_type": "lckv-llama", "layer_types": "1_1",
      "forward_passes": 1, "backward_passes": 1, "force_nodiag": true, "vocab_size": 64,
      "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2,
      "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 8192,
      "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": true})";
  ASSERT_OK_AND_ASSIGN(auto checkpoint, Checkpoint::Random(kConfig, 1, DType::kF32, {}));
  ASSERT_OK_AND_ASSIGN(auto backend, MakeCpuBackend({2, ""}));
  EngineOptions options;
  options.tokens_per_page = 64;
  ASSERT_OK_AND_ASSIGN(auto engine,
                       Engine::Create(*checkpoint, std::move(backend), options, nullptr));
  OpenEmpty(*engine, "s");
  const auto input = RandomTokens(kMaxSegmentTokens + 5, 64, 1);
  const TurnResult first = RunTurn(*engine, MakeTurn("s", input, 3));
  EXPECT_GT(first.outcome.encode_residual, 0);
  const SessionExport state = ExportAll(*engine, "s");
  EXPECT_EQ(Describe(state.transcript.segments), "4096 5 3*1 ");
  ASSERT_OK(OpenFrom(*engine, "replayed", {}, state,
                     static_cast<int32_t>(state.transcript.tokens.size()), 0));
  const TurnResult again = RunTurn(*engine, MakeTurn("replayed", {1, 2}, 3));
  EXPECT_EQ(again.outcome.reencoded_tokens, kMaxSegmentTokens + 7);
  EXPECT_EQ(again.tokens, RunTurn(*engine, MakeTurn("s", {1, 2}, 3)).tokens);
  EXPECT_TRUE(SameState(ExportAll(*engine, "replayed"), ExportAll(*engine, "s")));
  ExpectNothingLeft(*engine, {"s", "replayed"});
}

}  // namespace
}  // namespace lckv
