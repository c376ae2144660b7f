#include "engine/model/checkpoint.h"

#include <cstdlib>
#include <filesystem>
#include <set>

#include "absl/strings/match.h"
#include "tests/engine/model/small_model.h"
#include "tests/testing/golden.h"
#include "tests/testing/status_matchers.h"

namespace lckv {
namespace {

using testing::AddGgufTensors;
using ::testing::AllOf;
using ::testing::ElementsAre;
using testing::GgufBuilder;
using testing::GgufKeys;
using ::testing::HasSubstr;
using testing::HfConfig;
using testing::SmallModel;
using testing::SmallTensor;
using testing::StatusIs;
using testing::TempDir;
using testing::WriteHfModel;

using CheckpointOr = absl::StatusOr<std::unique_ptr<Checkpoint>>;

CheckpointOr Open(const std::string& path, const std::string& layer_map = "") {
  return Checkpoint::Open(path, {layer_map});
}

std::vector<const HostMatrix*> PartsOf(const LayerTensors& t) {
  return {&t.input_norm, &t.post_attention_norm,
          &t.q_proj,     &t.k_proj,
          &t.v_proj,     &t.o_proj,
          &t.q_bias,     &t.k_bias,
          &t.v_bias,     &t.o_bias,
          &t.gate_proj,  &t.up_proj,
          &t.down_proj,  &t.gate_bias,
          &t.up_bias,    &t.down_bias};
}

std::vector<const HostMatrix*> AllOf(const ModelTensors& tensors) {
  std::vector<const HostMatrix*> all = {&tensors.embedding, &tensors.final_norm, &tensors.lm_head};
  for (const LayerTensors& layer : tensors.layers) {
    for (const HostMatrix* part : PartsOf(layer)) all.push_back(part);
  }
  return all;
}

void ExpectSameTensors(const ModelTensors& a, const ModelTensors& b) {
  const std::vector<const HostMatrix*> all_a = AllOf(a), all_b = AllOf(b);
  ASSERT_EQ(all_a.size(), all_b.size());
  for (size_t i = 0; i < all_a.size(); ++i) {
    SCOPED_TRACE(i);
    EXPECT_EQ(all_a[i]->rows, all_b[i]->rows);
    EXPECT_EQ(all_a[i]->cols, all_b[i]->cols);
    ASSERT_EQ(all_a[i]->data == nullptr, all_b[i]->data == nullptr);
    if (all_a[i]->data != nullptr) {
      EXPECT_EQ(testing::Values(*all_a[i]), testing::Values(*all_b[i]));
    }
  }
}

TEST(CheckpointTest, OpensEveryGoldenCheckpoint) {
  int cases = 0;
  for (const auto& folder : std::filesystem::directory_iterator(testing::GoldenPath("lckv"))) {
    SCOPED_TRACE(folder.path().string());
    ASSERT_OK_AND_ASSIGN(const auto checkpoint, Open(folder.path().string()));
    const ModelConfig& config = checkpoint->config();
    const ModelTensors& tensors = checkpoint->tensors();
    EXPECT_EQ(tensors.lm_head.data == tensors.embedding.data, config.tied_embeddings);
    ASSERT_EQ(static_cast<int>(tensors.layers.size()), config.num_layers);
    for (int i = 0; i < config.num_layers; ++i) {
      const LayerTensors& layer = tensors.layers[static_cast<size_t>(i)];
      EXPECT_EQ(layer.k_proj.data != nullptr, config.layer_map.is_producer(i)) << i;
      EXPECT_EQ(layer.v_proj.data != nullptr, config.layer_map.is_producer(i)) << i;
      EXPECT_EQ(layer.q_bias.data != nullptr, config.attention_bias) << i;
      EXPECT_EQ(layer.gate_bias.data != nullptr, config.mlp_bias) << i;
    }
    for (const HostMatrix* matrix : AllOf(tensors)) {
      if (matrix->data != nullptr) testing::Values(*matrix);
    }
    EXPECT_EQ(checkpoint->tokenizer_path(), "");
    EXPECT_EQ(checkpoint->chat_template(), "");
    ++cases;
  }
  EXPECT_EQ(cases, 20);
}

TEST(CheckpointTest, OpensTheBardModel) {
  const std::string path = testing::DataPath("models/bard-lckv-w2");
  ASSERT_OK_AND_ASSIGN(const auto checkpoint, Open(path));
  EXPECT_EQ(checkpoint->tokenizer_path(), path + "/tokenizer.json");
  EXPECT_THAT(checkpoint->chat_template(), HasSubstr("<|im_start|>"));
  EXPECT_EQ(checkpoint->tensors().embedding.dtype, DType::kBf16);
  EXPECT_EQ(checkpoint->tensors().layers[3].k_proj.data, nullptr);
}

TEST(CheckpointTest, LoadsTheValuesOfAnHfDirectory) {
  for (const bool bias : {false, true}) {
    TempDir dir;
    const SmallModel model{.bias = bias};
    WriteHfModel(dir, model);
    ASSERT_OK_AND_ASSIGN(const auto checkpoint, Open(dir.path()));
    const LayerTensors& layer = checkpoint->tensors().layers[1];
    for (const SmallTensor& t : TensorsOf(model)) {
      if (t.hf_name == "model.layers.1.mlp.up_proj.weight") {
        EXPECT_EQ(testing::Values(layer.up_proj), ValuesOf(t));
      } else if (t.hf_name == "model.layers.1.self_attn.q_proj.weight") {
        EXPECT_EQ(testing::Values(layer.q_proj), ValuesOf(t));
      } else if (t.hf_name == "model.layers.1.self_attn.v_proj.bias") {
        EXPECT_EQ(testing::Values(layer.v_bias), ValuesOf(t));
      } else if (t.hf_name == "lm_head.weight") {
        EXPECT_EQ(testing::Values(checkpoint->tensors().lm_head), ValuesOf(t));
      }
    }
  }
}

TEST(CheckpointTest, NamesEachMissingTensor) {
  const SmallModel model{.bias = true};
  for (const SmallTensor& missing : TensorsOf(model)) {
    TempDir dir;
    WriteHfModel(dir, model, DType::kF32,
                 [&](const SmallTensor& t) { return t.hf_name != missing.hf_name; });
    EXPECT_THAT(Open(dir.path()),
                StatusIs(absl::StatusCode::kNotFound,
                         AllOf(HasSubstr(missing.hf_name), HasSubstr(dir.path()))));
  }
}

TEST(CheckpointTest, NamesEachTensorOfTheWrongShape) {
  const SmallModel model{.bias = true};
  for (const SmallTensor& wrong : TensorsOf(model)) {
    TempDir dir;
    WriteHfModel(dir, model, DType::kF32, [&](SmallTensor& t) {
      if (t.hf_name == wrong.hf_name) t.cols += 1;
      return true;
    });
    EXPECT_THAT(Open(dir.path()), StatusIs(absl::StatusCode::kInvalidArgument,
                                           AllOf(HasSubstr(wrong.hf_name), HasSubstr(dir.path()))));
  }
}

TEST(CheckpointTest, OverridesTheLayerMap) {
  TempDir dir;
  WriteHfModel(dir, SmallModel{}, DType::kBf16);
  ASSERT_OK_AND_ASSIGN(const auto checkpoint, Open(dir.path(), "1_1"));
  EXPECT_EQ(checkpoint->config().layer_map.ToString(), "1_1");
  EXPECT_EQ(checkpoint->tensors().layers[0].k_proj.data, nullptr);
  EXPECT_THAT(Open(dir.path(), "0_2"), StatusIs(absl::StatusCode::kInvalidArgument));

  // A producer that the file has no K for.
  const std::string yoco = testing::GoldenPath("lckv/yoco");
  EXPECT_THAT(Open(yoco, "0_1_2_3_4_5"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("layers.3.self_attn.k_proj")));
}

TEST(CheckpointTest, ReportsMissingFiles) {
  TempDir dir;
  EXPECT_THAT(Open(dir.File("none")), StatusIs(absl::StatusCode::kNotFound, HasSubstr("none")));
  EXPECT_THAT(Open(dir.path()), StatusIs(absl::StatusCode::kNotFound, HasSubstr("config.json")));
  dir.Write("config.json", HfConfig({}).dump());
  EXPECT_THAT(Open(dir.path()),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("model.safetensors.index.json")));
  dir.Write("config.json", "{}");
  EXPECT_THAT(Open(dir.path()),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr(dir.path()), HasSubstr("model_type: missing"))));
}

TEST(CheckpointTest, ShardsStayInsideTheirDirectory) {
  TempDir dir;
  WriteHfModel(dir, SmallModel{});
  std::filesystem::rename(dir.File("model.safetensors"), dir.File("shard"));
  std::filesystem::create_directory(dir.File("sub"));
  const auto open_with = [&](const std::string& shard) {
    nlohmann::json map;
    for (const SmallTensor& t : TensorsOf(SmallModel{})) map[t.hf_name] = shard;
    dir.Write("model.safetensors.index.json", nlohmann::json{{"weight_map", map}}.dump());
    return Open(dir.path());
  };
  EXPECT_OK(open_with("shard"));
  for (const char* name : {"", ".", "..", "../shard", "sub/../shard", "/etc/passwd"}) {
    EXPECT_THAT(open_with(name), StatusIs(absl::StatusCode::kInvalidArgument,
                                          HasSubstr("not in a file of this directory")))
        << name;
  }
  EXPECT_THAT(open_with(std::string("shard\0x", 7)), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(open_with("absent"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("absent")));
}

TEST(CheckpointTest, RefusesMalformedIndexes) {
  TempDir dir;
  dir.Write("config.json", HfConfig({}).dump());
  for (const char* index : {"{", "[]", "{}", R"({"weight_map":[]})", R"({"weight_map":{"a":1}})"}) {
    dir.Write("model.safetensors.index.json", index);
    EXPECT_THAT(Open(dir.path()),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("index.json")))
        << index;
  }
  dir.Write("model.safetensors.index.json", R"({"weight_map":{}})");
  EXPECT_THAT(Open(dir.path()),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("model.embed_tokens.weight")));
}

TEST(CheckpointTest, FindsTheChatTemplate) {
  TempDir dir;
  WriteHfModel(dir, SmallModel{});
  const auto chat_template = [&](const char* tokenizer_config) {
    dir.Write("tokenizer_config.json", tokenizer_config);
    CheckpointOr checkpoint = Open(dir.path());
    EXPECT_OK(checkpoint);
    return (*checkpoint)->chat_template();
  };
  EXPECT_EQ(chat_template("{}"), "");
  EXPECT_EQ(chat_template(R"({"chat_template": "A"})"), "A");
  EXPECT_EQ(chat_template(R"({"chat_template": [{"name": "rag", "template": "R"},
                                                {"name": "default", "template": "D"}]})"),
            "D");
  EXPECT_EQ(chat_template(R"({"chat_template": [{"name": "rag", "template": "R"}]})"), "");
  for (const char* bad : {"{", R"({"chat_template": 1})", R"({"chat_template": [1]})",
                          R"({"chat_template": [{"name": "default"}]})"}) {
    dir.Write("tokenizer_config.json", bad);
    EXPECT_THAT(Open(dir.path()),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("tokenizer_config.json")));
  }
  dir.Write("chat_template.jinja", "J");
  EXPECT_EQ(chat_template("{}"), "J");
  dir.Write("chat_template.jinja", std::string((1 << 20) + 1, 'J'));
  EXPECT_THAT(Open(dir.path()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("chat_template")));
}

TEST(GgufCheckpointTest, HasTheTensorsOfTheHfDirectory) {
  for (const bool bias : {false, true}) {
    for (const bool tied : {false, true}) {
      for (const DType dtype : {DType::kF32, DType::kF16, DType::kBf16}) {
        TempDir dir;
        const SmallModel model{tied, bias};
        WriteHfModel(dir, model, dtype, [&](const SmallTensor&) { return true; });
        GgufBuilder file = GgufKeys();
        AddGgufTensors(file, model, dtype);
        ASSERT_OK_AND_ASSIGN(const auto gguf, Open(dir.Write("m.gguf", file.Build())));
        EXPECT_EQ(gguf->config().tied_embeddings, tied);
        EXPECT_EQ(gguf->config().attention_bias, bias);
        EXPECT_EQ(gguf->config().mlp_bias, bias);
        EXPECT_EQ(gguf->tensors().lm_head.data == gguf->tensors().embedding.data, tied);
        if (dtype != DType::kF32) continue;  // the HF file rounds vectors too
        ASSERT_OK_AND_ASSIGN(const auto hf, Open(dir.path()));
        ExpectSameTensors(gguf->tensors(), hf->tensors());
      }
    }
  }
}

TEST(GgufCheckpointTest, RestoresRowsOfQuantisedMatrices) {
  for (const DType dtype : {DType::kQ8_0, DType::kQ4_1}) {
    TempDir dir;
    GgufBuilder file = GgufKeys();
    AddGgufTensors(file, SmallModel{}, dtype);
    ASSERT_OK_AND_ASSIGN(const auto gguf, Open(dir.Write("m.gguf", file.Build())));
    for (const SmallTensor& t : TensorsOf(SmallModel{})) {
      const bool is_q = t.hf_name == "model.layers.1.self_attn.q_proj.weight";
      const bool is_k = t.hf_name == "model.layers.1.self_attn.k_proj.weight";
      if (!is_q && !is_k) continue;
      const LayerTensors& layer = gguf->tensors().layers[1];
      const HostMatrix& matrix = is_q ? layer.q_proj : layer.k_proj;
      EXPECT_EQ(matrix.dtype, dtype);
      const std::string expected =
          testing::MakeTensor(t.hf_name, dtype, t.rows, t.cols, ValuesOf(t)).bytes;
      EXPECT_EQ(absl::string_view(static_cast<const char*>(matrix.data), expected.size()),
                expected);
    }
  }
}

TEST(GgufCheckpointTest, ReadsTheConfig) {
  TempDir dir;
  GgufBuilder file = GgufKeys();
  file.String("tokenizer.chat_template", "T")
      .Float("llama.rope.freq_base", 5e5f)
      .Int("tokenizer.ggml.eot_token_id", 7);
  AddGgufTensors(file, SmallModel{});
  const std::string path = dir.Write("m.gguf", file.Build());
  ASSERT_OK_AND_ASSIGN(const auto checkpoint, Open(path, "1_1"));
  const ModelConfig& config = checkpoint->config();
  EXPECT_EQ(config.architecture, "llama");
  EXPECT_EQ(config.name, "small");
  EXPECT_EQ(config.vocab_size, SmallModel::kVocab);
  EXPECT_EQ(config.head_dim, SmallModel::kHeadDim);
  EXPECT_EQ(config.max_positions, 512);
  EXPECT_EQ(config.rms_norm_eps, 1e-5f);
  EXPECT_EQ(config.rope_theta, 5e5);
  EXPECT_EQ(config.bos_token, 1);
  EXPECT_THAT(config.eos_tokens, ElementsAre(2, 7));
  EXPECT_EQ(config.layer_map.ToString(), "1_1");
  EXPECT_EQ(checkpoint->tokenizer_path(), path);
  EXPECT_EQ(checkpoint->chat_template(), "T");
}

TEST(GgufCheckpointTest, ReadsRopeScaling) {
  TempDir dir;
  GgufBuilder linear = GgufKeys();
  linear.String("llama.rope.scaling.type", "linear").Float("llama.rope.scaling.factor", 4);
  AddGgufTensors(linear, SmallModel{});
  ASSERT_OK_AND_ASSIGN(const auto scaled, Open(dir.Write("m.gguf", linear.Build())));
  EXPECT_EQ(scaled->config().rope_scaling.kind, RopeScalingKind::kLinear);
  EXPECT_EQ(scaled->config().rope_scaling.factor, 4);

  GgufBuilder table = GgufKeys();
  AddGgufTensors(table, SmallModel{});
  table.Tensor(
      testing::MakeTensor("rope_freqs.weight", DType::kF32, 1, 8, {1, 1, 1, 2, 4, 8, 8, 8}));
  ASSERT_OK_AND_ASSIGN(const auto divided, Open(dir.Write("m.gguf", table.Build())));
  EXPECT_EQ(divided->config().rope_scaling.kind, RopeScalingKind::kTable);
  EXPECT_THAT(divided->config().rope_scaling.divisors, ElementsAre(1, 1, 1, 2, 4, 8, 8, 8));

  GgufBuilder short_table = GgufKeys();
  AddGgufTensors(short_table, SmallModel{});
  short_table.Tensor(testing::MakeTensor("rope_freqs.weight", DType::kF32, 1, 4, {1, 1, 1, 1}));
  EXPECT_THAT(Open(dir.Write("m.gguf", short_table.Build())),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("rope_freqs.weight")));
}

TEST(GgufCheckpointTest, NamesEachMissingTensorAndWrongShape) {
  const SmallModel model{.bias = true};
  for (const SmallTensor& bad : TensorsOf(model)) {
    TempDir dir;
    if (bad.gguf_name != "output.weight") {  // absent, it means tied embeddings
      GgufBuilder missing = GgufKeys();
      AddGgufTensors(missing, model, DType::kF32,
                     [&](const SmallTensor& t) { return t.gguf_name != bad.gguf_name; });
      EXPECT_THAT(Open(dir.Write("m.gguf", missing.Build())),
                  StatusIs(absl::StatusCode::kNotFound, HasSubstr(bad.gguf_name)));
    }
    GgufBuilder wrong = GgufKeys();
    AddGgufTensors(wrong, model, DType::kF32, [&](SmallTensor& t) {
      if (t.gguf_name == bad.gguf_name) t = {t.hf_name, t.gguf_name, t.rows, t.cols + 32, 0};
      return true;
    });
    EXPECT_THAT(Open(dir.Write("m.gguf", wrong.Build())),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(bad.gguf_name)));
  }
}

TEST(GgufCheckpointTest, NamesBadKeys) {
  struct Case {
    const char* key;
    GgufBuilder file;
    absl::StatusCode code;
  };
  const auto bad = absl::StatusCode::kInvalidArgument;
  const auto unsupported = absl::StatusCode::kUnimplemented;
  // Keys of the small model come first, so these are extra ones.
  const Case cases[] = {
      {"llama.vocab_size", GgufKeys().Int("llama.vocab_size", 0), bad},
      {"token_embd.weight", GgufKeys().Int("llama.vocab_size", 41), bad},
      {"llama.vocab_size", GgufKeys().String("llama.vocab_size", "40"), bad},
      {"llama.expert_count", GgufKeys().Float("llama.expert_count", 0), bad},
      {"mixture of experts", GgufKeys().Int("llama.expert_count", 8), unsupported},
      {"rope.dimension_count", GgufKeys().Int("llama.rope.dimension_count", 8), unsupported},
      {"yarn", GgufKeys().String("llama.rope.scaling.type", "yarn"), unsupported},
      {"rope_theta", GgufKeys().Float("llama.rope.freq_base", -1), bad},
      {"factor", GgufKeys().Float("llama.rope.scaling.factor", 0), bad},
      {"eot_token_id", GgufKeys().Int("tokenizer.ggml.eot_token_id", 40), bad},
      {"chat_template", GgufKeys().Int("tokenizer.chat_template", 1), bad},
      {"general.architecture", GgufBuilder(), absl::StatusCode::kNotFound},
      {"qwen2", GgufBuilder().String("general.architecture", "qwen2"), unsupported},
      {"llama.embedding_length", GgufBuilder().String("general.architecture", "llama"),
       absl::StatusCode::kNotFound},
  };
  TempDir dir;
  for (const Case& c : cases) {
    GgufBuilder file = c.file;
    AddGgufTensors(file, SmallModel{});
    const std::string path = dir.Write("m.gguf", file.Build());
    EXPECT_THAT(Open(path), StatusIs(c.code, AllOf(HasSubstr(c.key), HasSubstr(path))));
  }
}

TEST(GgufCheckpointTest, AVocabularyFileIsNoModel) {
  EXPECT_THAT(Open(testing::GoldenPath("tokenizers/bpe_gpt2.vocab.gguf")),
              ::testing::Not(testing::IsOk()));
}

TEST(GgufCheckpointTest, OpensSmolLM2) {
  const char* path = std::getenv("LCKV_SMOLLM2");
  if (path == nullptr) GTEST_SKIP() << "LCKV_SMOLLM2 does not name SmolLM2-135M-Instruct.Q4_1.gguf";
  ASSERT_OK_AND_ASSIGN(const auto checkpoint, Open(path));
  const ModelConfig& config = checkpoint->config();
  EXPECT_EQ(config.num_layers, 30);
  EXPECT_EQ(config.hidden_size, 576);
  EXPECT_EQ(config.num_heads, 9);
  EXPECT_EQ(config.num_kv_heads, 3);
  EXPECT_EQ(config.head_dim, 64);
  EXPECT_EQ(config.vocab_size, 49152);
  EXPECT_EQ(config.rope_theta, 100000);
  EXPECT_TRUE(config.tied_embeddings);
  EXPECT_THAT(config.eos_tokens, ElementsAre(2));
  EXPECT_THAT(checkpoint->chat_template(),
              HasSubstr("You are a helpful AI assistant named SmolLM"));
  const ModelTensors& tensors = checkpoint->tensors();
  EXPECT_EQ(tensors.embedding.dtype, DType::kQ8_0);
  EXPECT_EQ(tensors.layers[29].k_proj.dtype, DType::kQ4_1);
  for (const HostMatrix* matrix : AllOf(tensors)) {
    if (matrix->data != nullptr) testing::Values(*matrix);
  }
}

std::string SmallConfig() { return HfConfig({}).dump(); }

TEST(RandomCheckpointTest, IsTheSameOnEveryMachine) {
  ASSERT_OK_AND_ASSIGN(const auto checkpoint,
                       Checkpoint::Random(SmallConfig(), 7, DType::kF32, {}));
  // Computed once by a separate program from the definition in random_checkpoint.cc.
  const std::vector<float> values = testing::Values(checkpoint->tensors().embedding);
  EXPECT_EQ(values[0], 0.02231452986598015f);
  EXPECT_EQ(values[1], -0.007407518569380045f);
  EXPECT_EQ(values[2], 0.0012416342506185174f);
  EXPECT_EQ(values[3], -0.00225227908231318f);

  double sum = 0, squares = 0;
  for (const float value : values) {
    sum += value;
    squares += double{value} * value;
  }
  const double count = static_cast<double>(values.size());
  EXPECT_NEAR(sum / count, 0, 4 * 0.02 / std::sqrt(count));
  EXPECT_NEAR(std::sqrt(squares / count), 0.02, 0.002);
}

TEST(RandomCheckpointTest, FollowsSeedDTypeAndMap) {
  ASSERT_OK_AND_ASSIGN(const auto one, Checkpoint::Random(SmallConfig(), 1, DType::kF32, {}));
  ASSERT_OK_AND_ASSIGN(const auto again, Checkpoint::Random(SmallConfig(), 1, DType::kF32, {}));
  ExpectSameTensors(one->tensors(), again->tensors());
  ASSERT_OK_AND_ASSIGN(const auto two, Checkpoint::Random(SmallConfig(), 2, DType::kF32, {}));
  EXPECT_NE(testing::Values(one->tensors().embedding), testing::Values(two->tensors().embedding));
  EXPECT_EQ(testing::Values(one->tensors().final_norm),
            std::vector<float>(SmallModel::kHidden, 1.0f));

  ASSERT_OK_AND_ASSIGN(const auto mapped,
                       Checkpoint::Random(SmallConfig(), 1, DType::kQ4_1, {"1_1"}));
  EXPECT_EQ(mapped->tensors().layers[0].k_proj.data, nullptr);
  EXPECT_EQ(mapped->tensors().layers[1].k_proj.dtype, DType::kQ4_1);
  EXPECT_EQ(mapped->tensors().final_norm.dtype, DType::kF32);
  EXPECT_EQ(mapped->tokenizer_path(), "");
}

TEST(RandomCheckpointTest, RepeatsTheBytesOfOneLayer) {
  const auto make = [](bool repeat_layers) {
    auto config = ModelConfig::FromHfJson(SmallConfig(), "");
    EXPECT_OK(config);
    auto checkpoint = Checkpoint::Random(
        *config, {.seed = 7, .dtype = DType::kF32, .repeat_layers = repeat_layers});
    EXPECT_OK(checkpoint);
    return *std::move(checkpoint);
  };
  const auto repeated = make(true), each = make(false);
  const std::vector<LayerTensors>& layers = repeated->tensors().layers;
  const std::vector<LayerTensors>& own = each->tensors().layers;
  ASSERT_GE(layers.size(), 2u);
  EXPECT_EQ(layers[0].up_proj.data, layers[1].up_proj.data);
  EXPECT_NE(layers[0].up_proj.data, layers[0].gate_proj.data);
  EXPECT_EQ(testing::Values(layers[1].k_proj), testing::Values(own[0].k_proj));
  EXPECT_NE(testing::Values(own[1].k_proj), testing::Values(own[0].k_proj));
  ASSERT_OK_AND_ASSIGN(const Sha256Digest digest, repeated->WeightsDigest());
  ASSERT_OK_AND_ASSIGN(const Sha256Digest other, each->WeightsDigest());
  EXPECT_NE(digest, other);
}

TEST(RandomCheckpointTest, RefusesWhatCannotBe) {
  nlohmann::json odd = HfConfig({});
  odd["intermediate_size"] = 65;
  EXPECT_THAT(Checkpoint::Random(odd.dump(), 1, DType::kQ8_0, {}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("down_proj")));
  nlohmann::json huge = HfConfig({});
  huge["hidden_size"] = 1 << 20;
  huge["vocab_size"] = 1 << 20;
  EXPECT_THAT(Checkpoint::Random(huge.dump(), 1, DType::kF32, {}),
              StatusIs(absl::StatusCode::kResourceExhausted));
}

TEST(FingerprintTest, ChangesWithWhatDecidesTheKv) {
  nlohmann::json lckv = HfConfig({});
  lckv["model_type"] = "lckv-llama";
  std::set<std::string> seen;
  const auto add = [&](const nlohmann::json& config, uint64_t seed = 1, DType weights = DType::kF32,
                       DType kv = DType::kBf16, int tokens_per_page = 64,
                       const std::string& map = "") {
    CheckpointOr checkpoint = Checkpoint::Random(config.dump(), seed, weights, {map});
    EXPECT_OK(checkpoint);
    absl::StatusOr<Sha256Digest> fingerprint = Fingerprint(**checkpoint, kv, tokens_per_page);
    EXPECT_OK(fingerprint);
    return seen.insert(ToHex(*fingerprint)).second;
  };
  const auto with = [&](const char* field, const nlohmann::json& value) {
    nlohmann::json changed = lckv;
    changed[field] = value;
    return changed;
  };
  EXPECT_TRUE(add(lckv));
  EXPECT_FALSE(add(lckv));
  EXPECT_TRUE(add(lckv, 2));
  EXPECT_TRUE(add(lckv, 1, DType::kBf16));
  EXPECT_TRUE(add(lckv, 1, DType::kF32, DType::kF16));
  EXPECT_TRUE(add(lckv, 1, DType::kF32, DType::kBf16, 128));
  EXPECT_TRUE(add(lckv, 1, DType::kF32, DType::kBf16, 64, "1_1"));
  EXPECT_TRUE(add(lckv, 1, DType::kF32, DType::kBf16, 64, "0_1s"));
  EXPECT_TRUE(add(with("rope_theta", 10001)));
  EXPECT_TRUE(add(with("rope_scaling", {{"type", "linear"}, {"factor", 2}})));
  EXPECT_TRUE(add(with("rms_norm_eps", 1e-6)));
  EXPECT_TRUE(add(with("force_nodiag", true)));
  EXPECT_TRUE(add(with("sliding_window", 64)));
  EXPECT_TRUE(add(with("backward_passes", 3)));
  // Names and special tokens decide nothing.
  EXPECT_FALSE(add(with("_name_or_path", "x")));
  EXPECT_FALSE(add(with("eos_token_id", 3)));
}

}  // namespace
}  // namespace lckv
