#include "engine/model/model_config.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "tests/engine/model/test_files.h"
#include "tests/testing/golden.h"
#include "tests/testing/status_matchers.h"

namespace lckv {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::StatusIs;

json SmallLlama() {
  return {{"model_type", "llama"},  {"hidden_size", 32},        {"intermediate_size", 48},
          {"num_hidden_layers", 6}, {"num_attention_heads", 4}, {"num_key_value_heads", 2},
          {"vocab_size", 97}};
}

json SmallOptLlama() {
  json config = SmallLlama();
  config["model_type"] = "opt-llama";
  return config;
}

absl::StatusOr<ModelConfig> Parse(const json& config, const std::string& generation = "") {
  return ModelConfig::FromHfJson(config.dump(), generation);
}

absl::StatusOr<ModelConfig> ParseGolden(absl::string_view name) {
  return ModelConfig::FromHfJson(
      testing::ReadFile(testing::GoldenPath(absl::StrCat("lckv/", name, "/config.json"))), "");
}

TEST(ModelConfigTest, DefaultsOfLlama) {
  ASSERT_OK_AND_ASSIGN(const ModelConfig config, Parse(SmallLlama()));
  EXPECT_EQ(config.architecture, "llama");
  EXPECT_EQ(config.head_dim, 8);
  EXPECT_EQ(config.max_positions, 2048);
  EXPECT_EQ(config.rms_norm_eps, 1e-6f);
  EXPECT_EQ(config.rope_theta, 10000);
  EXPECT_EQ(config.rope_scaling.kind, RopeScalingKind::kNone);
  EXPECT_FALSE(config.tied_embeddings);
  EXPECT_FALSE(config.attention_bias);
  EXPECT_EQ(config.layer_map.ToString(), "0_1_2_3_4_5");
  EXPECT_FALSE(config.force_nodiag);
  EXPECT_EQ(config.default_passes(), 1);
  EXPECT_EQ(config.bos_token, -1);
  EXPECT_TRUE(config.eos_tokens.empty());

  json mha = SmallLlama();
  mha.erase("num_key_value_heads");
  ASSERT_OK_AND_ASSIGN(const ModelConfig without_gqa, Parse(mha));
  EXPECT_EQ(without_gqa.num_kv_heads, 4);
}

TEST(ModelConfigTest, ReadsTheBardModel) {
  const std::string folder = testing::DataPath("models/bard-lckv-w2");
  ASSERT_OK_AND_ASSIGN(
      const ModelConfig config,
      ModelConfig::FromHfJson(testing::ReadFile(folder + "/config.json"),
                              testing::ReadFile(folder + "/generation_config.json")));
  EXPECT_EQ(config.architecture, "lckv-llama");
  EXPECT_EQ(config.layer_map.ToString(), "0_6_6_6_6_6_6_7");
  EXPECT_TRUE(config.force_nodiag);
  EXPECT_TRUE(config.tied_embeddings);
  EXPECT_EQ(config.default_passes(), 9);
  EXPECT_EQ(config.bos_token, 0);
  EXPECT_THAT(config.eos_tokens, ElementsAre(2, 0));
}

TEST(ModelConfigTest, ReadsGoldenVariants) {
  ASSERT_OK_AND_ASSIGN(const ModelConfig window, ParseGolden("lckv-window"));
  EXPECT_EQ(window.sliding_window, 12);
  EXPECT_TRUE(window.layer_map.windowed(1));

  ASSERT_OK_AND_ASSIGN(const ModelConfig tied, ParseGolden("llama-gqa-tied"));
  EXPECT_TRUE(tied.tied_embeddings);

  ASSERT_OK_AND_ASSIGN(const ModelConfig linear, ParseGolden("llama-rope-linear"));
  EXPECT_EQ(linear.rope_scaling.kind, RopeScalingKind::kLinear);
  EXPECT_EQ(linear.rope_scaling.factor, 4);

  ASSERT_OK_AND_ASSIGN(const ModelConfig llama3, ParseGolden("llama-rope-llama3-bias"));
  EXPECT_EQ(llama3.rope_scaling.kind, RopeScalingKind::kLlama3);
  EXPECT_EQ(llama3.rope_scaling.original_max_positions, 64);
  EXPECT_EQ(llama3.rope_theta, 500000);
  EXPECT_TRUE(llama3.attention_bias);
  EXPECT_EQ(llama3.head_dim, 16);  // 4 heads x 16 is not the hidden size 32
}

TEST(ModelConfigTest, ConvertsOptLlama) {
  ASSERT_OK_AND_ASSIGN(const ModelConfig plain, Parse(SmallOptLlama()));
  EXPECT_EQ(plain.layer_map.ToString(), "0_1_2_3_4_5");
  EXPECT_TRUE(plain.force_nodiag);
  EXPECT_EQ(plain.forward_passes, 7);
  EXPECT_EQ(plain.backward_passes, 2);

  json config = SmallOptLlama();
  config["layer_types"] = "0_1_1_1_2_1";
  config["target_layer"] = -2;
  config["num_encoders"] = 6;
  config["num_trained_encoders"] = 2;
  ASSERT_OK_AND_ASSIGN(const ModelConfig typed, Parse(config));
  EXPECT_EQ(typed.layer_map.ToString(), "0_4_4_4_4_4");
  EXPECT_EQ(typed.forward_passes, 4);
  EXPECT_EQ(typed.backward_passes, 3);

  config["target_layer"] = 4;
  EXPECT_OK(Parse(config));
}

TEST(ModelConfigTest, ConvertsDeprecatedOptLlama) {
  json config = SmallOptLlama();
  config["num_warmup_layers"] = 2;
  ASSERT_OK_AND_ASSIGN(const ModelConfig warmup, Parse(config));
  EXPECT_EQ(warmup.layer_map.ToString(), "0_1_5_5_5_5");

  struct Case {
    json value;
    int backward_passes;
  };
  for (const Case& c : {Case{"none", 1}, Case{"encoder", 2}, Case{"3", 4}, Case{3, 4}}) {
    config["train_last_encoder"] = c.value;
    config["num_trained_encoders"] = 5;  // the deprecated field wins
    ASSERT_OK_AND_ASSIGN(const ModelConfig parsed, Parse(config));
    EXPECT_EQ(parsed.backward_passes, c.backward_passes) << c.value;
    EXPECT_EQ(parsed.default_passes(), 9) << c.value;
  }
}

TEST(ModelConfigTest, RefusesBadOptLlama) {
  const auto refused = [](const char* field, const json& value) {
    json config = SmallOptLlama();
    config[field] = value;
    EXPECT_THAT(Parse(config), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(field)))
        << value;
  };
  refused("layer_types", "0_1_1_1_3_0");
  refused("layer_types", "0_1_1_1_2_0");  // the target is the last layer
  refused("layer_types", "0_1_1_1_1");
  refused("layer_types", "0_1_1_1_1_2_0");
  refused("target_layer", 6);
  refused("target_layer", -7);
  refused("num_warmup_layers", 6);
  refused("num_encoders", 0);
  refused("num_trained_encoders", 9);
  refused("train_last_encoder", "all");
  refused("train_last_encoder", "-1");
  refused("train_last_encoder", -1);
}

TEST(ModelConfigTest, NamesTheBadField) {
  struct Case {
    const char* field;
    json value;
  };
  const Case cases[] = {
      {"hidden_size", 0},
      {"hidden_size", -1},
      {"hidden_size", 1 << 21},
      {"hidden_size", 1e30},
      {"hidden_size", UINT64_MAX},
      {"hidden_size", "32"},
      {"hidden_size", 32.5},
      {"intermediate_size", nullptr},
      {"num_hidden_layers", 1025},
      {"num_hidden_layers", json::array()},
      {"num_attention_heads", 5},
      {"num_key_value_heads", 3},
      {"num_key_value_heads", 8},
      {"head_dim", 7},
      {"head_dim", 2048},
      {"vocab_size", 0},
      {"vocab_size", true},
      {"max_position_embeddings", 0},
      {"max_position_embeddings", 1 << 25},
      {"rms_norm_eps", 0},
      {"rms_norm_eps", -1e-5},
      {"rms_norm_eps", 1},
      {"rope_theta", 0},
      {"rope_theta", "10000"},
      {"tie_word_embeddings", 1},
      {"attention_bias", "no"},
      {"mlp_bias", 0},
      {"hidden_act", 1},
      {"model_type", 1},
      {"bos_token_id", 97},
      {"eos_token_id", 97},
      {"eos_token_id", -1},
      {"eos_token_id", {2, 97}},
      {"eos_token_id", {2, "3"}},
      {"eos_token_id", std::vector<int>(65, 2)},
      {"eos_token_id", json::object()},
      {"rope_scaling", "linear"},
  };
  for (const Case& c : cases) {
    json config = SmallLlama();
    config[c.field] = c.value;
    EXPECT_THAT(Parse(config), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(c.field)))
        << c.field << " = " << c.value;
  }
}

TEST(ModelConfigTest, NamesTheMissingField) {
  for (const char* field : {"model_type", "hidden_size", "intermediate_size", "num_hidden_layers",
                            "num_attention_heads", "vocab_size"}) {
    json config = SmallLlama();
    config.erase(field);
    EXPECT_THAT(Parse(config), StatusIs(absl::StatusCode::kInvalidArgument,
                                        HasSubstr(absl::StrCat(field, ": missing"))));
  }
}

TEST(ModelConfigTest, NamesTheBadLckvField) {
  struct Case {
    const char* field;
    json value;
  };
  const Case cases[] = {
      {"layer_types", "0_1_2"}, {"layer_types", "0_1_2_3_4_6"},
      {"layer_types", 5},       {"layer_types", json::array()},
      {"sliding_window", 0},    {"forward_passes", -1},
      {"forward_passes", 1025}, {"backward_passes", -1},
      {"backward_passes", "2"}, {"use_sequential", "false"},
      {"force_nodiag", 1},
  };
  for (const Case& c : cases) {
    json config = SmallLlama();
    config["model_type"] = "lckv-llama";
    config[c.field] = c.value;
    EXPECT_THAT(Parse(config), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(c.field)))
        << c.field << " = " << c.value;
  }
  json config = SmallLlama();
  config["model_type"] = "lckv-llama";
  config["forward_passes"] = 0;
  config["backward_passes"] = 0;
  EXPECT_THAT(Parse(config), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("passes")));
}

TEST(ModelConfigTest, SaysWhatItDoesNotCompute) {
  struct Case {
    const char* field;
    json value;
  };
  const Case cases[] = {
      {"model_type", "mistral"},
      {"hidden_act", "gelu"},
      {"partial_rotary_factor", 0.5},
      {"quantization_config", {{"bits", 4}}},
      {"rope_scaling", {{"rope_type", "yarn"}, {"factor", 2.0}}},
      {"rope_scaling", {{"type", "dynamic"}, {"factor", 2.0}}},
      {"rope_parameters", {{"rope_type", "longrope"}}},
  };
  for (const Case& c : cases) {
    json config = SmallLlama();
    config[c.field] = c.value;
    EXPECT_THAT(Parse(config), StatusIs(absl::StatusCode::kUnimplemented, HasSubstr(c.field)));
  }
}

TEST(ModelConfigTest, ReadsRopeScaling) {
  json config = SmallLlama();
  config["rope_scaling"] = {{"rope_type", "default"}};
  ASSERT_OK_AND_ASSIGN(const ModelConfig plain, Parse(config));
  EXPECT_EQ(plain.rope_scaling.kind, RopeScalingKind::kNone);

  config.erase("rope_scaling");
  config["rope_parameters"] = {{"rope_type", "linear"}, {"factor", 2}, {"rope_theta", 5e5}};
  ASSERT_OK_AND_ASSIGN(const ModelConfig newer, Parse(config));
  EXPECT_EQ(newer.rope_scaling.kind, RopeScalingKind::kLinear);
  EXPECT_EQ(newer.rope_theta, 5e5);

  const json llama3 = {{"rope_type", "llama3"},
                       {"factor", 8.0},
                       {"low_freq_factor", 1.0},
                       {"high_freq_factor", 4.0},
                       {"original_max_position_embeddings", 64}};
  struct Case {
    const char* field;
    json value;
  };
  for (const Case& c : {Case{"factor", 0}, Case{"factor", nullptr}, Case{"low_freq_factor", 0},
                        Case{"high_freq_factor", 1}, Case{"original_max_position_embeddings", 0}}) {
    json bad = SmallLlama();
    bad["rope_scaling"] = llama3;
    bad["rope_scaling"][c.field] = c.value;
    EXPECT_THAT(Parse(bad), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(c.field)));
  }
}

TEST(ModelConfigTest, CollectsStopTokens) {
  json config = SmallLlama();
  config["bos_token_id"] = 1;
  config["eos_token_id"] = 2;
  ASSERT_OK_AND_ASSIGN(const ModelConfig merged, Parse(config, R"({"eos_token_id": [2, 5]})"));
  EXPECT_EQ(merged.bos_token, 1);
  EXPECT_THAT(merged.eos_tokens, ElementsAre(2, 5));
  EXPECT_THAT(
      Parse(config, R"({"eos_token_id": 97})"),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("generation_config.json: eos")));
  EXPECT_THAT(Parse(config, "{"), StatusIs(absl::StatusCode::kInvalidArgument,
                                           HasSubstr("generation_config.json: malformed")));
}

TEST(ModelConfigTest, RefusesTextThatIsNoObject) {
  for (const std::string text : {"", "{", "[]", "null", "{\"a\":1}}", "\xff", "{\"a\":\"\xff\"}"}) {
    EXPECT_THAT(ModelConfig::FromHfJson(text, ""), StatusIs(absl::StatusCode::kInvalidArgument))
        << text;
  }
  const std::string deep(1'000'000, '[');
  EXPECT_THAT(ModelConfig::FromHfJson(deep, ""), StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(ModelConfigTest, OverridesTheLayerMap) {
  ASSERT_OK_AND_ASSIGN(ModelConfig config, Parse(SmallLlama()));
  EXPECT_OK(config.OverrideLayerMap("0_4_4_4_4_5"));
  EXPECT_TRUE(config.layer_map.cyclic());
  EXPECT_TRUE(config.nodiag(1));
  EXPECT_FALSE(config.nodiag(4));
  EXPECT_EQ(config.default_passes(), 9);
  EXPECT_THAT(config.OverrideLayerMap("0"), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_EQ(config.layer_map.ToString(), "0_4_4_4_4_5");
}

TEST(RopeTest, PlainAndLinear) {
  ASSERT_OK_AND_ASSIGN(ModelConfig config, Parse(SmallLlama()));
  const std::vector<double> plain = RopeInverseFrequencies(config);
  ASSERT_EQ(plain.size(), 4u);  // head_dim 8
  for (int i = 0; i < 4; ++i) EXPECT_NEAR(plain[i], std::pow(10.0, -i), 1e-12) << i;

  ASSERT_OK_AND_ASSIGN(const ModelConfig linear, ParseGolden("llama-rope-linear"));
  EXPECT_DOUBLE_EQ(RopeInverseFrequencies(linear)[0], 0.25);

  config.rope_scaling.kind = RopeScalingKind::kTable;
  config.rope_scaling.divisors = {1, 2, 4, 8};
  EXPECT_OK(config.Validate());
  EXPECT_DOUBLE_EQ(RopeInverseFrequencies(config)[3], plain[3] / 8);
  config.rope_scaling.divisors = {1, 2, 4};
  EXPECT_THAT(config.Validate(), StatusIs(absl::StatusCode::kInvalidArgument));
  config.rope_scaling.divisors = {1, 2, 4, 0};
  EXPECT_THAT(config.Validate(), StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(RopeTest, Llama3KeepsBlendsAndStretches) {
  ASSERT_OK_AND_ASSIGN(const ModelConfig config, ParseGolden("llama-rope-llama3-bias"));
  const std::vector<double> scaled = RopeInverseFrequencies(config);
  ASSERT_EQ(scaled.size(), 8u);
  // theta 500000, head_dim 16, factor 8; the original context of 64 positions holds 10.2, 1.98,
  // 0.38 … turns of the frequencies: the first is kept, the second blended by (1.98 - 1) / 3, the
  // rest divided by 8.
  const double second = std::pow(500000.0, -1.0 / 8);
  const double turns = 64 * second / (2 * M_PI);
  const double smooth = (turns - 1) / 3;
  ASSERT_GT(smooth, 0);
  ASSERT_LT(smooth, 1);
  EXPECT_DOUBLE_EQ(scaled[0], 1.0);
  EXPECT_NEAR(scaled[1], second * (smooth + (1 - smooth) / 8), 1e-15);
  for (int i = 2; i < 8; ++i) {
    EXPECT_NEAR(scaled[i], std::pow(500000.0, -i / 8.0) / 8, 1e-15) << i;
  }
}

}  // namespace
}  // namespace lckv
