#include "engine/plan/model_work.h"

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/substitute.h"
#include "engine/ops/backend.h"
#include "engine/transformer/model.h"
#include "tests/testing/status_matchers.h"

namespace lckv {
namespace {

using ::testing::HasSubstr;
using testing::StatusIs;

// hidden 8, inner 16, 2 query heads and 1 KV head of 4: a block has 2 * 8 * 8 + 3 * 16 * 8 = 512
// parameters, K/V projections 2 * 4 * 8 = 64, the head 10 * 8 = 80. In bf16 a block weighs 1,024
// bytes and 64 of norms, the projections 128, the head 160; the KV of a token 16 a producer.
ModelConfig Small(const std::string& map, int layers) {
  ModelConfig config;
  config.architecture = "lckv-llama";
  config.hidden_size = 8;
  config.intermediate_size = 16;
  config.num_layers = layers;
  config.num_heads = 2;
  config.num_kv_heads = 1;
  config.head_dim = 4;
  config.vocab_size = 10;
  config.max_positions = 16384;
  config.layer_map = *LayerMap::Parse(map, layers);
  return config;
}

struct SmallWork {
  SmallWork(ModelConfig model, const ModelWork::Options& options)
      : config(std::move(model)),
        layout(*MakePageLayout(config, DType::kBf16, 64)),
        work(&config, &layout, SizeOf(config, WeightFormat::kBf16, 100), options) {}
  const ModelConfig config;
  const PageLayout layout;
  const ModelWork work;
};

TEST(ModelSizeTest, CountsWhatAModelHas) {
  const ModelSize size = SizeOf(Small("0_2_2_3", 4), WeightFormat::kBf16, 100);
  EXPECT_EQ(size.layers[0].block_parameters, 512);
  EXPECT_EQ(size.layers[0].kv_parameters, 64);
  EXPECT_EQ(size.layers[1].kv_parameters, 0);
  EXPECT_EQ(size.layers[1].weight_bytes(), 1088);
  EXPECT_EQ(size.layers[2].weight_bytes(), 1216);
  EXPECT_EQ(size.other_bytes, (8 + 100 * 4) * 4);
  // Layers, embedding, head, final norm and rotary table.
  EXPECT_EQ(size.weight_bytes(), 4 * 1088 + 3 * 128 + 2 * 160 + 1632);
}

TEST(ModelSizeTest, ScalesOfFp8Rows) {
  const ModelSize size = SizeOf(Small("0", 1), WeightFormat::kFp8, 1);
  // A byte a value and four a row: q 8 rows, o 8, gate and up 16 each, down 8; k and v 4 each.
  EXPECT_EQ(size.layers[0].block_weight_bytes, 512 + (8 + 8 + 16 + 16 + 8) * 4 + 64);
  EXPECT_EQ(size.layers[0].kv_weight_bytes, 64 + 8 * 4);
}

// The loaded model itself, its sizes such that the CPU backend pads nothing: producers only,
// biases, tied embeddings.
TEST(ModelSizeTest, AgreesWithLoadedModels) {
  constexpr char kConfig[] = R"({"model_type": "lckv-llama", "hidden_size": 64,
      "intermediate_size": 160, "num_hidden_layers": 4, "num_attention_heads": 6,
      "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 112, "layer_types": "0_2_2_3",
      "max_position_embeddings": 64, $0})";
  ASSERT_OK_AND_ASSIGN(const std::unique_ptr<Backend> backend,
                       MakeCpuBackend({.num_threads = 1, .isa = "generic"}));
  for (const char* extra : {R"("tie_word_embeddings": true)", R"("attention_bias": true)",
                            R"("mlp_bias": true, "tie_word_embeddings": false)"}) {
    ASSERT_OK_AND_ASSIGN(const std::unique_ptr<Checkpoint> checkpoint,
                         Checkpoint::Random(absl::Substitute(kConfig, extra), 1, DType::kBf16,
                                            Checkpoint::Options()));
    for (const char* name : {"f32", "bf16", "int8", "int4"}) {
      ASSERT_OK_AND_ASSIGN(const WeightFormat format, ParseWeightFormat(name));
      ASSERT_OK(CheckWeightFormat(checkpoint->config(), format));
      ASSERT_OK_AND_ASSIGN(const std::unique_ptr<Model> model,
                           Model::Load(*checkpoint, backend.get(), name, 32));
      EXPECT_EQ(SizeOf(checkpoint->config(), format, 32).weight_bytes(), model->weight_bytes())
          << name << " " << extra;
    }
  }
}

TEST(ModelSizeTest, BlocksNeedWholeRows) {
  EXPECT_OK(CheckWeightFormat(Small("0", 1), WeightFormat::kFp8));
  EXPECT_THAT(CheckWeightFormat(Small("0", 1), WeightFormat::kInt4),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("int4")));
  EXPECT_THAT(ParseWeightFormat("q8"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("q8")));
}

TEST(ModelWorkTest, VisibleKeysFollowTheMask) {
  ModelConfig config = Small("0_2s_2_3s", 4);
  config.sliding_window = 4;
  const SmallWork small(config, {.step_tokens = 5, .device_layers = 4});
  EXPECT_EQ(small.work.VisibleKeys(0, 9), 10);
  EXPECT_EQ(small.work.VisibleKeys(1, 9), 3);  // the window counts the token that it cannot see
  EXPECT_EQ(small.work.VisibleKeys(1, 2), 2);
  EXPECT_EQ(small.work.VisibleKeys(2, 9), 10);
  EXPECT_EQ(small.work.VisibleKeys(3, 9), 4);
  EXPECT_EQ(small.work.VisibleKeys(3, 0), 1);
}

TEST(ModelWorkTest, DecodeStep) {
  const SmallWork small(Small("0_2_2_3", 4), {.step_tokens = 5, .device_layers = 3});
  const Work work = small.work.DecodeStep(3, 5);
  EXPECT_EQ(work.linear_flops, 3 * 2 * (4 * 512 + 3 * 64 + 80));
  // Layer 1 reads a higher one and does not see position 5.
  EXPECT_EQ(work.attention_flops, 3 * 4 * 8 * (6 + 5 + 6 + 6));
  const int weights = 4 * 1088 + 3 * 128 + 160;
  EXPECT_EQ(work.device_bytes, weights + 3 * ((6 + 5 + 6 + 6) * 16 + 48));
  EXPECT_EQ(work.host_link_bytes, 1216);
}

// Layer 0's K and V, 4 float32 each, are looked up: no product, no weights.
TEST(ModelWorkTest, ATableOfLayer0) {
  const ModelConfig config = Small("0_2_2_3", 4);
  const PageLayout layout = *MakePageLayout(config, DType::kBf16, 64);
  const ModelSize without = SizeOf(config, WeightFormat::kBf16, 100);
  ModelSize size = without;
  size.layer0_table_bytes = Layer0TableBytes(config);
  EXPECT_EQ(size.weight_bytes() - without.weight_bytes(), 10 * 32);
  const auto differences = [&](int device_layers) {
    const ModelWork::Options options = {
        .passes = 4, .step_tokens = 5, .device_layers = device_layers};
    const ModelWork plain(&config, &layout, without, options);
    const ModelWork table(&config, &layout, size, options);
    std::vector<double> all;
    const auto add = [&](const Work& a, const Work& b) {
      all.push_back(a.linear_flops - b.linear_flops);
      all.push_back(a.device_bytes - b.device_bytes);
      all.push_back(a.host_link_bytes - b.host_link_bytes);
    };
    add(plain.DecodeStep(3, 5), table.DecodeStep(3, 5));
    add(plain.Encode(2, 6), table.Encode(2, 6));
    return all;
  };
  // Twelve rows are three steps.
  EXPECT_THAT(differences(4), ::testing::ElementsAre(3 * 2 * 64, 128 - 3 * 32, 0,  //
                                                     12 * 2 * 64, 3 * 128 - 12 * 32, 0));
  EXPECT_THAT(differences(0), ::testing::Each(0)) << "what streams comes whole";
}

TEST(ModelWorkTest, SharedKvIsReadOnce) {
  const SmallWork small(Small("0_2_2_3", 4),
                        {.step_tokens = 5, .device_layers = 4, .shared_kv_once = true});
  const int weights = 4 * 1088 + 3 * 128 + 160;
  EXPECT_EQ(small.work.DecodeStep(3, 5).device_bytes, weights + 3 * ((6 + 6 + 6) * 16 + 48));
}

// Layer 0: one pass. Group {1, 2}: layer 1 all four, layer 2 projects K/V four times and goes on
// once. Layer 3, the last producer: K/V once, the rest for the last token only.
TEST(ModelWorkTest, EncodeACyclicMap) {
  const SmallWork small(Small("0_2_2_3", 4), {.passes = 4, .step_tokens = 5, .device_layers = 4});
  const Work work = small.work.Encode(2, 6);
  EXPECT_EQ(work.linear_flops,
            2 * 12 * (64 * (1 + 4 + 1) + 512 * (1 + 4 + 1)) + 2 * 2 * (512 + 80));
  EXPECT_EQ(work.attention_flops, 2 * 4 * 8 * (21 + 4 * 15 + 21) + 2 * 4 * 8 * 6);
  // Twelve rows are three steps; the two last tokens fall into two of them.
  const int weights = 3 * ((128 + 1088) + 4 * 1088 + (4 * 128 + 1088) + 128) + 2 * (1088 + 160);
  const int read = 2 * (1 + 4 + 1) * (5 + 6) * 16 + 2 * 6 * 16;
  const int written = 12 * (1 + 4 + 1) * 16;
  EXPECT_EQ(work.device_bytes, weights + read + written);
  EXPECT_EQ(work.host_link_bytes, 0);
}

TEST(ModelWorkTest, ShortInputsGetFewerPasses) {
  const SmallWork small(Small("0_2_2_3", 4), {.step_tokens = 64, .device_layers = 4});
  const auto linear = [&](int64_t tokens) { return small.work.Encode(1, tokens).linear_flops; };
  const auto expected = [](int64_t tokens, int64_t passes) {
    return 2.0 * static_cast<double>(tokens * (64 * (2 + passes) + 512 * (2 + passes)) + 592);
  };
  EXPECT_EQ(linear(1), expected(1, 1));
  EXPECT_EQ(linear(3), expected(3, 3));
  EXPECT_EQ(linear(9), expected(9, 9));
  EXPECT_EQ(linear(10), expected(10, 9));  // K = 7 + 2
  // The second segment has two tokens.
  EXPECT_EQ(linear(4098), expected(4096, 9) + expected(2, 2) - 2 * 592);
}

TEST(ModelWorkTest, EncodeAnAcyclicMap) {
  // The last producer is layer 0: every token projects K/V there, and only the last one goes on.
  const SmallWork small(Small("0_0", 2), {.step_tokens = 4, .device_layers = 1});
  const Work work = small.work.Encode(1, 8);
  EXPECT_EQ(work.linear_flops, 2 * (8 * 64 + 2 * 512 + 80));
  EXPECT_EQ(work.attention_flops, 2 * 4 * 8 * 8);
  EXPECT_EQ(work.device_bytes, 2 * 128 + 2 * 1088 + 160 + 2 * 8 * 16 + 8 * 16);
  EXPECT_EQ(work.host_link_bytes, 1088);
}

TEST(ModelWorkTest, EncodeInAWindow) {
  ModelConfig config = Small("0s_1", 2);
  config.sliding_window = 3;
  const SmallWork small(config, {.step_tokens = 2, .device_layers = 2});
  const Work work = small.work.Encode(1, 6);
  // Keys seen: 1 2 3 3 3 3 in layer 0, the last token's 6 in layer 1.
  EXPECT_EQ(work.attention_flops, 4 * 8 * (15 + 6));
  // Chunks of two read up to 2, 4 and 5 keys: a window and the chunk's other token, rounded up.
  const double weights = 3 * (1216 + 128) + 1088 + 160;
  EXPECT_EQ(work.device_bytes, weights + (2 + 4 + 5 + 6) * 16 + 2 * 6 * 16);
}

TEST(RooflineTest, TheLongestPartDecides) {
  const DeviceSpec device = {"d", 1, 100, 10, 1000, 2000, 50};
  const auto seconds = [&](const Work& work, WeightFormat format) {
    return RooflineOf(work, device, format).seconds;
  };
  const Work memory = {.linear_flops = 1000, .attention_flops = 500, .device_bytes = 300};
  EXPECT_EQ(seconds(memory, WeightFormat::kBf16), 3);
  EXPECT_EQ(RooflineOf(memory, device, WeightFormat::kBf16).bound, Bound::kMemory);
  EXPECT_EQ(seconds(memory, WeightFormat::kF32), 30);
  const Work compute = {.linear_flops = 4000, .attention_flops = 500, .device_bytes = 100};
  EXPECT_EQ(seconds(compute, WeightFormat::kBf16), 4.5);
  EXPECT_EQ(seconds(compute, WeightFormat::kInt4), 4.5);
  EXPECT_EQ(seconds(compute, WeightFormat::kFp8), 2.5);
  EXPECT_EQ(RooflineOf(compute, device, WeightFormat::kFp8).bound, Bound::kCompute);
  const Work link = {.device_bytes = 100, .host_link_bytes = 50};
  EXPECT_EQ(seconds(link, WeightFormat::kBf16), 5);
  EXPECT_EQ(RooflineOf(link, device, WeightFormat::kBf16).bound, Bound::kHostLink);
}

}  // namespace
}  // namespace lckv
