// Layer 0's K and V looked up by token id have the bits of those that are projected: exact
// decoding, encoder passes, layers that stream; on the CPU and, compiled once more, on a GPU.

#include "engine/transformer/layer0_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/substitute.h"
#include "engine/transformer/model.h"
#include "tests/conformance/test_gpu.h"
#include "tests/engine/runtime/engine_harness.h"

namespace lckv::testing {
namespace {

using ::testing::HasSubstr;

std::unique_ptr<Backend> Open(DType activations) {
  if (kGpuOnly) return OpenTestGpu(activations);
  auto cpu = MakeCpuBackend({.num_threads = 2, .isa = ""});
  EXPECT_OK(cpu);
  return *std::move(cpu);
}

// A vocabulary that is no multiple of the rows made at once, and biases.
std::unique_ptr<Checkpoint> RandomModel(const std::string& map, int vocab = 300) {
  constexpr char kConfig[] = R"({"model_type": "lckv-llama", "hidden_size": 64,
      "intermediate_size": 96, "num_hidden_layers": 5, "num_attention_heads": 4,
      "num_key_value_heads": 2, "vocab_size": $0, "max_position_embeddings": 256,
      "attention_bias": true, "layer_types": "$1"})";
  auto checkpoint = Checkpoint::Random(absl::Substitute(kConfig, vocab, map), 5, DType::kF32, {});
  EXPECT_OK(checkpoint);
  return *std::move(checkpoint);
}

struct Outcome {
  std::vector<int32_t> tokens, other_tokens;
  SessionExport state, other_state;
};

// A turn of one session, encoded in passes, beside another one's, token by token: staged rows and
// others in one step.
Outcome Talk(const Checkpoint& checkpoint, Layer0Table table, const std::string& weights,
             DType activations, int device_layers) {
  EngineOptions options = SmallOptions();
  options.max_context = 256;
  options.step_tokens = 16;
  options.weight_format = weights;
  options.device_layers = device_layers;
  options.layer0_table = table;
  auto engine = Engine::Create(checkpoint, Open(activations), options, nullptr);
  EXPECT_OK(engine);
  if (!engine.ok()) return {};
  const int vocab = checkpoint.config().vocab_size;
  OpenEmpty(**engine, "s");
  OpenEmpty(**engine, "other", {.sequential = true});
  const auto other = Start(**engine, MakeTurn("other", RandomTokens(9, vocab, 7), 12, Seeded(2)));
  Outcome outcome;
  const TurnResult result =
      RunTurn(**engine, MakeTurn("s", RandomTokens(20, vocab, 1), 6, Seeded(1)));
  EXPECT_OK(result.outcome.status);
  outcome.tokens = result.tokens;
  const TurnResult other_result = Await(*other);
  EXPECT_OK(other_result.outcome.status);
  outcome.other_tokens = other_result.tokens;
  outcome.state = ExportAll(**engine, "s");
  outcome.other_state = ExportAll(**engine, "other");
  return outcome;
}

// Every layer of its own; layer 0 below a cyclic group, at its bottom, and the only producer.
constexpr const char* kMaps[] = {"0_1_2_3_4", "0_3_3_3_4", "0_4_4_4_4", "0_0_0_0_0"};

TEST(Layer0TableTest, GivesTheBitsOfProjections) {
  std::vector<std::pair<DType, std::string>> forms = {{DType::kF32, "f32"}};
  if (kGpuOnly) forms.insert(forms.end(), {{DType::kBf16, "bf16"}, {DType::kBf16, "int8"}});
  for (const auto& [activations, weights] : forms) {
    for (const char* map : kMaps) {
      const auto checkpoint = RandomModel(map);
      const int all = checkpoint->config().num_layers;
      const Outcome expected = Talk(*checkpoint, Layer0Table::kOff, weights, activations, all);
      const std::string what = absl::StrCat(Name(activations), " ", weights, " ", map);
      for (const int device_layers : {all, 0}) {
        if (device_layers == 0 && !kGpuOnly) continue;
        const Outcome actual =
            Talk(*checkpoint, Layer0Table::kOn, weights, activations, device_layers);
        EXPECT_EQ(actual.tokens, expected.tokens) << what;
        EXPECT_TRUE(SameState(actual.state, expected.state)) << what;
        EXPECT_EQ(actual.other_tokens, expected.other_tokens) << what;
        EXPECT_TRUE(SameState(actual.other_state, expected.other_state)) << what;
      }
    }
  }
}

TEST(Layer0TableTest, IsCountedWhereWeightsAre) {
  const auto checkpoint = RandomModel("0_1_2_3_4");
  const std::unique_ptr<Backend> backend = Open(DType::kF32);
  const auto load = [&](Layer0Table table) {
    auto model = Model::Load(*checkpoint, backend.get(), "f32", 256, Model::kAllLayers, table);
    EXPECT_OK(model);
    return *std::move(model);
  };
  const auto with = load(Layer0Table::kOn);
  const auto without = load(Layer0Table::kOff);
  constexpr int64_t kBytes = 2 * 300 * 32 * 4;
  EXPECT_EQ(Layer0TableBytes(checkpoint->config()), kBytes);
  EXPECT_EQ(with->weight_bytes() - without->weight_bytes(), kBytes);
  EXPECT_NE(with->layer0_k(), nullptr);
  EXPECT_EQ(without->layer0_k(), nullptr);
  ASSERT_OK_AND_ASSIGN(const WeightFootprint footprint,
                       Model::Measure(*checkpoint, *backend, "f32", 256, Layer0Table::kOn));
  EXPECT_EQ(footprint.layer0_table_bytes, kBytes);
}

TEST(Layer0TableTest, AutoIsForSmallTablesOnDevicesOfTheirOwn) {
  for (const int vocab : {8, 300}) {
    const auto checkpoint = RandomModel("0_1_2_3_4", vocab);
    const std::unique_ptr<Backend> backend = Open(DType::kF32);
    ASSERT_OK_AND_ASSIGN(const auto model, Model::Load(*checkpoint, backend.get(), "f32", 256));
    EXPECT_EQ(model->layer0_k() != nullptr, kGpuOnly && vocab == 8) << vocab;
  }
}

TEST(Layer0TableTest, NeedsAProducer) {
  const auto checkpoint = RandomModel("1_1_2_3_4");
  const std::unique_ptr<Backend> backend = Open(DType::kF32);
  EXPECT_THAT(
      Model::Load(*checkpoint, backend.get(), "f32", 256, Model::kAllLayers, Layer0Table::kOn)
          .status(),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("layer 0")));
  EXPECT_OK(Model::Load(*checkpoint, backend.get(), "f32", 256).status());
}

TEST(Layer0TableTest, TwoPercentIsTheLimit) {
  const ModelConfig config = RandomModel("0_1_2_3_4")->config();
  const int64_t bytes = Layer0TableBytes(config);
  const auto plan = [&](bool host, int64_t weights) {
    return PlanLayer0Table(config, Layer0Table::kAuto, host, weights).value_or(-1);
  };
  EXPECT_EQ(plan(false, 50 * bytes), bytes);
  EXPECT_EQ(plan(false, 50 * bytes - 1), 0);
  EXPECT_EQ(plan(true, 50 * bytes), 0);
}

}  // namespace
}  // namespace lckv::testing
