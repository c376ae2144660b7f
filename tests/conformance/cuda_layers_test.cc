// Weights of the last layers in host memory: the same bits as with all of them on the device,
// however many layers stream, and a number that is chosen when memory is short. On the simulated
// GPU copies get there at once, or as late as they may.

#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/transformer/model.h"
#include "tests/conformance/test_gpu.h"
#include "tests/engine/runtime/engine_harness.h"

namespace lckv::testing {
namespace {

using ::testing::HasSubstr;

constexpr int kLayers = 6;

std::unique_ptr<Checkpoint> RandomModel(const std::string& map, int hidden_size = 64) {
  auto config = ModelConfig::FromHfJson(
      absl::StrCat(R"({"model_type": "lckv-llama", "hidden_size": )", hidden_size,
                   R"(, "intermediate_size": 96, "num_hidden_layers": 6, "num_attention_heads": 4,
                       "num_key_value_heads": 2, "vocab_size": 97,
                       "max_position_embeddings": 256, "layer_types": "0_1_2_3_4_5"})"),
      "");
  EXPECT_OK(config);
  EXPECT_OK(config->OverrideLayerMap(map));
  auto checkpoint = Checkpoint::Random(*config, {.seed = 5, .dtype = DType::kF32});
  EXPECT_OK(checkpoint);
  return *std::move(checkpoint);
}

EngineOptions WithLayers(int device_layers, const std::string& weights) {
  EngineOptions options = SmallOptions();
  options.max_context = 256;
  options.step_tokens = 16;
  options.weight_format = weights;
  options.device_layers = device_layers;
  return options;
}

class CudaLayersTest : public ::testing::TestWithParam<std::tuple<const char*, const char*>> {
 protected:
  void SetUp() override {
    ASSERT_EQ(setenv("LCKV_SIM_COPIES", std::get<0>(GetParam()), 1), 0);
    checkpoint_ = RandomModel(std::get<1>(GetParam()));
  }
  void TearDown() override {
    unsetenv("LCKV_SIM_COPIES");
    unsetenv("LCKV_SIM_MEMORY");
  }

  // Two turns of one session beside another one: tokens, and the bytes of all pages.
  struct Outcome {
    std::vector<int32_t> tokens;
    SessionExport state;
    std::string description;
  };
  Outcome Talk(int device_layers, const std::string& weights, DType activations) {
    auto engine = Engine::Create(*checkpoint_, OpenTestGpu(activations),
                                 WithLayers(device_layers, weights), nullptr);
    EXPECT_OK(engine);
    if (!engine.ok()) return {};
    const int vocab = checkpoint_->config().vocab_size;
    OpenEmpty(**engine, "s");
    OpenEmpty(**engine, "other", {.sequential = true});
    const auto other = Start(**engine, MakeTurn("other", RandomTokens(9, vocab, 7), 10, Seeded(2)));
    Outcome outcome;
    for (uint32_t turn = 0; turn < 2; ++turn) {
      const TurnResult result =
          RunTurn(**engine, MakeTurn("s", RandomTokens(20, vocab, turn), 6, Seeded(turn)));
      EXPECT_OK(result.outcome.status);
      outcome.tokens.insert(outcome.tokens.end(), result.tokens.begin(), result.tokens.end());
    }
    EXPECT_OK(Await(*other).outcome.status);
    outcome.state = ExportAll(**engine, "s");
    outcome.description = (*engine)->description();
    return outcome;
  }

  std::unique_ptr<Checkpoint> checkpoint_;
};

TEST_P(CudaLayersTest, StreamedLayersComputeTheSameBits) {
  const Outcome expected = Talk(kLayers, "f32", DType::kF32);
  EXPECT_THAT(expected.description, ::testing::Not(HasSubstr("host memory")));
  for (const int layers : {0, 1, 3, 4, 5}) {
    const Outcome actual = Talk(layers, "f32", DType::kF32);
    EXPECT_EQ(actual.tokens, expected.tokens) << layers;
    EXPECT_TRUE(SameState(actual.state, expected.state)) << layers;
    EXPECT_THAT(actual.description,
                HasSubstr(absl::StrCat("layers from ", layers, " on in host memory")));
  }
}

// Scales lie behind the rows, tiles are padded.
TEST_P(CudaLayersTest, InEveryFormat) {
  if (std::string(std::get<0>(GetParam())) == "atonce") GTEST_SKIP() << "late is the harder one";
  for (const char* weights : {"bf16", "fp8", "int8", "int4"}) {
    const Outcome expected = Talk(kLayers, weights, DType::kBf16);
    const Outcome actual = Talk(2, weights, DType::kBf16);
    EXPECT_EQ(actual.tokens, expected.tokens) << weights;
    EXPECT_TRUE(SameState(actual.state, expected.state)) << weights;
  }
}

INSTANTIATE_TEST_SUITE_P(Streams, CudaLayersTest,
                         ::testing::Combine(::testing::Values("atonce", "late"),
                                            ::testing::Values("0_1_2_3_4_5", "0_4_4_4_4_5")),
                         [](const auto& info) {
                           return absl::StrCat(std::get<0>(info.param), "_",
                                               info.index % 2 == 0 ? "full" : "condensed");
                         });

class CudaLayersPlanTest : public ::testing::Test {
 protected:
  void TearDown() override { unsetenv("LCKV_SIM_MEMORY"); }
};

// The matrices of a layer are 3 MiB, those of a producer 4 MiB; of three layers, two with windows.
TEST_F(CudaLayersPlanTest, AutomaticWhenMemoryIsShort) {
  if (std::getenv("LCKV_GPU_LIBRARY") != nullptr) GTEST_SKIP() << "of the simulated GPU";
  const std::unique_ptr<Checkpoint> checkpoint = RandomModel("0_4_4_4_4_5", 512);
  EngineOptions options = WithLayers(EngineOptions::kAutoLayers, "f32");
  options.kv_memory_bytes = 64 << 10;
  std::vector<std::string> seen;
  for (const char* memory : {"40000000", "20000000", "8000000"}) {
    setenv("LCKV_SIM_MEMORY", memory, 1);
    auto engine = Engine::Create(*checkpoint, OpenTestGpu(DType::kF32), options, nullptr);
    seen.push_back(engine.ok() ? (*engine)->description() : engine.status().ToString());
  }
  EXPECT_THAT(seen[0], ::testing::Not(HasSubstr("host memory")));
  EXPECT_THAT(seen[1], HasSubstr("on in host memory"));
  EXPECT_THAT(seen[2], HasSubstr("with all layers in host memory"));
}

TEST_F(CudaLayersPlanTest, AProcessorHasNothingToStream) {
  const std::unique_ptr<Checkpoint> checkpoint = RandomModel("0_1_2_3_4_5");
  auto backend = MakeCpuBackend({2, ""});
  ASSERT_OK(backend);
  EXPECT_THAT(
      Engine::Create(*checkpoint, *std::move(backend), WithLayers(3, "f32"), nullptr).status(),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("host memory")));
}

}  // namespace
}  // namespace lckv::testing
