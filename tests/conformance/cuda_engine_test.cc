// Whole engines on a GPU: sessions, step loop and sampling over a small random model, with the full
// map and a condensed one.

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/runtime/evaluator.h"
#include "engine/transformer/model.h"
#include "tests/conformance/test_gpu.h"
#include "tests/engine/runtime/engine_harness.h"

namespace lckv::testing {
namespace {

// Logits of this model are of the order of 0.2.
constexpr float kTolerance = 1e-4f;
constexpr size_t kPrompt = 30;
constexpr int32_t kGenerate = 12;

class CudaEngineTest : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    auto config = ModelConfig::FromHfJson(
        R"({"model_type": "lckv-llama", "hidden_size": 64, "intermediate_size": 96,
            "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2,
            "vocab_size": 97, "max_position_embeddings": 256, "force_nodiag": true,
            "layer_types": "0_1_2_3"})",
        "");
    ASSERT_OK(config);
    ASSERT_OK(config->OverrideLayerMap(GetParam()));
    auto checkpoint = Checkpoint::Random(*config, {.seed = 5, .dtype = DType::kF32});
    ASSERT_OK(checkpoint);
    checkpoint_ = *std::move(checkpoint);
  }

  std::unique_ptr<Engine> MakeGpuEngine(int step_tokens) {
    EngineOptions options = SmallOptions();
    options.max_context = 256;
    options.kv_dtype = DType::kF32;
    options.step_tokens = step_tokens;
    auto backend = OpenTestGpu(DType::kF32);
    if (backend == nullptr) return nullptr;
    auto engine = Engine::Create(*checkpoint_, std::move(backend), options, nullptr);
    EXPECT_OK(engine);
    return engine.ok() ? *std::move(engine) : nullptr;
  }

  std::vector<int32_t> Prompt(uint32_t seed) const {
    return RandomTokens(kPrompt, checkpoint_->config().vocab_size, seed);
  }

  // Logits of every token of a session, computed on the CPU: [tokens][vocab].
  std::vector<float> CpuLogits(const SessionTranscript& transcript) {
    auto backend = MakeCpuBackend({2, ""});
    EXPECT_OK(backend);
    auto model = Model::Load(*checkpoint_, backend->get(), "f32", 256);
    EXPECT_OK(model);
    auto evaluator = Evaluator::Create(model->get(), {.kv_dtype = DType::kF32});
    EXPECT_OK(evaluator);
    const auto vocab = static_cast<size_t>(checkpoint_->config().vocab_size);
    std::vector<float> logits(transcript.tokens.size() * vocab);
    const auto keep = [&](int32_t position, absl::Span<const float> row) {
      std::copy(row.begin(), row.end(), &logits[static_cast<size_t>(position) * vocab]);
    };
    EXPECT_OK((*evaluator)
                  ->Evaluate(transcript.tokens, transcript.segments,
                             checkpoint_->config().default_passes(), keep));
    return logits;
  }

  std::unique_ptr<Checkpoint> checkpoint_;
};

// What the GPU generates greedily is what the CPU would, given the tokens before: its best token,
// or one that is as good but for rounding.
TEST_P(CudaEngineTest, GreedyTokensAreTheCpusBest) {
  const std::unique_ptr<Engine> engine = MakeGpuEngine(64);
  ASSERT_NE(engine, nullptr);
  OpenEmpty(*engine, "s");
  const TurnResult turn = RunTurn(*engine, MakeTurn("s", Prompt(1), kGenerate));
  ASSERT_EQ(turn.tokens.size(), static_cast<size_t>(kGenerate));
  auto transcript = engine->GetTranscript("s");
  ASSERT_OK(transcript);
  const std::vector<float> logits = CpuLogits(*transcript);
  const int64_t vocab = checkpoint_->config().vocab_size;
  for (size_t i = 0; i < turn.tokens.size(); ++i) {
    const auto row = logits.begin() + static_cast<int64_t>(kPrompt + i - 1) * vocab;
    EXPECT_GE(row[turn.tokens[i]], *std::max_element(row, row + vocab) - kTolerance)
        << "token " << i;
  }
}

// A session's tokens and every byte of its pages: alone and in steps of 64, and among seven others
// in steps of 7.
TEST_P(CudaEngineTest, NeitherBatchNorChunksChangeABit) {
  const std::unique_ptr<Engine> alone = MakeGpuEngine(64);
  const std::unique_ptr<Engine> crowded = MakeGpuEngine(7);
  ASSERT_NE(alone, nullptr);
  ASSERT_NE(crowded, nullptr);
  OpenEmpty(*alone, "s");
  const TurnResult expected = RunTurn(*alone, MakeTurn("s", Prompt(1), kGenerate, Seeded(3)));

  std::vector<std::shared_ptr<TurnStream>> others;
  for (uint32_t i = 0; i < 7; ++i) {
    const std::string name = absl::StrCat("other-", i);
    OpenEmpty(*crowded, name, {.sequential = i % 2 == 0});
    others.push_back(Start(*crowded, MakeTurn(name, Prompt(10 + i), kGenerate, Seeded(i))));
  }
  OpenEmpty(*crowded, "s");
  const TurnResult actual = RunTurn(*crowded, MakeTurn("s", Prompt(1), kGenerate, Seeded(3)));
  for (const auto& other : others) EXPECT_OK(Await(*other).outcome.status);
  EXPECT_EQ(actual.tokens, expected.tokens);
  EXPECT_TRUE(SameState(ExportAll(*crowded, "s"), ExportAll(*alone, "s")));
}

INSTANTIATE_TEST_SUITE_P(Maps, CudaEngineTest, ::testing::Values("0_1_2_3", "0_2_2_3"),
                         [](const ::testing::TestParamInfo<const char*>& info) {
                           return std::string(info.index == 0 ? "full" : "condensed");
                         });

}  // namespace
}  // namespace lckv::testing
