// `lckv plan`: its flags and what it prints.

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "services/cli/command.h"
#include "tests/testing/golden.h"
#include "tests/testing/status_matchers.h"

namespace lckv {
namespace {

using ::nlohmann::json;
using ::testing::HasSubstr;
using testing::StatusIs;

const char kModel[] = "models/bard-lckv-w2";

// Parses and runs `lckv plan` with `flags`; what it prints goes to `output`. A flag that the parser
// refuses is INVALID_ARGUMENT here.
absl::Status RunPlan(const std::vector<std::string>& flags, std::string* output = nullptr) {
  CLI::App tool("", "lckv");
  Action chosen;
  AddPlan(tool, chosen);
  std::vector<std::string> reversed(flags.rbegin(), flags.rend());
  reversed.push_back("plan");
  try {
    tool.parse(reversed);
  } catch (const CLI::ParseError& error) {
    return absl::InvalidArgumentError(error.what());
  }
  ::testing::internal::CaptureStdout();
  const absl::Status status = chosen();
  const std::string printed = ::testing::internal::GetCapturedStdout();
  if (output != nullptr) *output = printed;
  return status;
}

std::vector<std::string> With(std::vector<std::string> flags) {
  flags.insert(flags.begin(), {"--model", testing::DataPath(kModel)});
  return flags;
}

TEST(PlanCommandTest, JsonHasBothMaps) {
  std::string output;
  ASSERT_OK(RunPlan(With({"--context", "1000", "--json"}), &output));
  const json report = json::parse(output);
  EXPECT_EQ(report["layer_map"], "0_6_6_6_6_6_6_7");
  EXPECT_EQ(report["device"]["name"], "h100");
  EXPECT_EQ(report["prompt_tokens"], 1000);
  EXPECT_EQ(report["plan"]["kv_bytes_per_token"], 768);
  EXPECT_EQ(report["full_map"]["kv_bytes_per_token"], 2048);
  EXPECT_EQ(report["plan"]["passes"], 9);
  EXPECT_EQ(report["full_map"]["passes"], 1);
  EXPECT_EQ(report["plan"]["page_bytes"], 768 * 64);
  EXPECT_GT(report["plan"]["largest_batch"], report["full_map"]["largest_batch"]);
  EXPECT_EQ(report["plan"]["whole_batch"]["tokens_per_second"], 0);
}

TEST(PlanCommandTest, AConfigAloneIsEnough) {
  const std::string path = ::testing::TempDir() + "plan_test_config.json";
  std::ifstream from(testing::DataPath(kModel) + "/config.json");
  std::ofstream(path) << from.rdbuf();
  std::string directory, config, random;
  ASSERT_OK(RunPlan(With({"--json"}), &directory));
  ASSERT_OK(RunPlan({"--model", path, "--json"}, &config));
  ASSERT_OK(RunPlan({"--random-weights", path, "--json"}, &random));
  EXPECT_EQ(directory, config);
  EXPECT_EQ(directory, random);
}

TEST(PlanCommandTest, FlagsChangeTheDevice) {
  std::string output;
  ASSERT_OK(RunPlan(With({"--device",
                          "rtx3090",
                          "--device-memory",
                          "8GiB",
                          "--memory-bandwidth",
                          "1TB/s",
                          "--host-link-bandwidth",
                          "16GB/s",
                          "--bf16-flops",
                          "100T",
                          "--fp8-flops",
                          "0.2P",
                          "--f32-flops",
                          "50000G",
                          "--reserved-memory",
                          "512MiB",
                          "--link-bandwidth",
                          "10Gbit/s",
                          "--weights",
                          "fp8",
                          "--kv",
                          "f32",
                          "--gpu-layers",
                          "3",
                          "--passes",
                          "4",
                          "--json"}),
                    &output));
  const json report = json::parse(output);
  EXPECT_EQ(report["device"], json({{"name", "rtx3090"},
                                    {"memory_bytes", int64_t{8} << 30},
                                    {"memory_bytes_per_second", 1e12},
                                    {"host_link_bytes_per_second", 16e9},
                                    {"bf16_flops", 1e14},
                                    {"fp8_flops", 2e14},
                                    {"f32_flops", 5e13}}));
  EXPECT_EQ(report["link_bytes_per_second"], 1.25e9);
  EXPECT_EQ(report["plan"]["memory"]["reserved_bytes"], 512 << 20);
  EXPECT_EQ(report["plan"]["kv_bytes_per_token"], 2 * 768);
  EXPECT_EQ(report["plan"]["device_layers"], 3);
  EXPECT_GT(report["plan"]["memory"]["host_weight_bytes"], 0);
  EXPECT_EQ(report["plan"]["passes"], 4);
}

// Two times 64 float32 for each token id.
TEST(PlanCommandTest, ATableOfLayer0IsCounted) {
  const auto weight_bytes = [](const char* table) {
    std::string output;
    EXPECT_OK(RunPlan(With({"--layer0-table", table, "--json"}), &output));
    return json::parse(output)["plan"]["memory"]["weight_bytes"].get<int64_t>();
  };
  const std::string config = testing::DataPath(kModel) + "/config.json";
  const int64_t vocab = json::parse(std::ifstream(config))["vocab_size"];
  EXPECT_EQ(weight_bytes("on") - weight_bytes("off"), vocab * 2 * 64 * 4);
}

TEST(PlanCommandTest, TableRounds) {
  std::string output;
  ASSERT_OK(RunPlan(With({}), &output));
  EXPECT_THAT(output, HasSubstr("8 layers, 3 of them with KV, 9 passes"));
  EXPECT_THAT(output, HasSubstr("full map"));
  EXPECT_THAT(output, HasSubstr("2,048"));
  EXPECT_THAT(output, HasSubstr("0.375"));
  EXPECT_THAT(output, HasSubstr("whole batch, generated tokens/s"));
  // A full map has nothing to be compared with.
  ASSERT_OK(RunPlan(With({"--layer-map", "0_1_2_3_4_5_6_7", "--context", "64"}), &output));
  EXPECT_THAT(output, ::testing::Not(HasSubstr("full map")));
  EXPECT_THAT(output, ::testing::Not(HasSubstr("whole batch, generated")));
}

TEST(PlanCommandTest, PaperRows) {
  std::string output;
  ASSERT_OK(RunPlan({"--paper"}, &output));
  EXPECT_THAT(output, HasSubstr("largest batch"));
  EXPECT_THAT(output, HasSubstr("352 /    128   2.8"));
  ASSERT_OK(RunPlan({"--paper", "--json"}, &output));
  const json rows = json::parse(output)["rows"];
  ASSERT_EQ(rows.size(), 10u);
  EXPECT_EQ(rows[8]["maps"]["w=2"]["paper"]["largest_batch"], 128);
  EXPECT_EQ(rows[8]["maps"]["w=2"]["plan"]["largest_batch"], 352);
  EXPECT_EQ(rows[8]["maps"]["w=2"]["batch_ratio"], 2.75);
}

TEST(PlanCommandTest, WrongValuesNameTheirFlag) {
  const struct {
    std::vector<std::string> flags;
    const char* flag;  // in the message
  } kCases[] = {
      {{"--device", "h99"}, "--device"},
      {{"--device-memory", "much"}, "--device-memory"},
      {{"--device-memory", "0"}, "--device-memory"},
      {{"--memory-bandwidth", "3.35"}, "--memory-bandwidth"},
      {{"--memory-bandwidth", "-1TB/s"}, "--memory-bandwidth"},
      {{"--host-link-bandwidth", "63Gb/s"}, "--host-link-bandwidth"},
      {{"--bf16-flops", "nanT"}, "--bf16-flops"},
      {{"--fp8-flops", "0T"}, "--fp8-flops"},
      {{"--f32-flops", "67"}, "--f32-flops"},
      {{"--link-bandwidth", "fast"}, "--link-bandwidth"},
      {{"--reserved-memory", "-1GiB"}, "--reserved-memory"},
      {{"--weights", "q8"}, "--weights"},
      {{"--weights", "fp8", "--device", "a100"}, "--weights"},
      {{"--kv", "int8"}, "--kv"},
      {{"--context", "0"}, "--context"},
      {{"--context", "2049"}, "--context"},
      {{"--context", "100", "--prompt", "10"}, "--context"},
      {{"--prompt", "0"}, "--prompt"},
      {{"--generate", "-1"}, "--generate"},
      {{"--prompt", "2000", "--generate", "100"}, "--prompt + --generate"},
      {{"--tokens-per-page", "17"}, "--tokens-per-page"},
      {{"--passes", "65"}, "--passes"},
      {{"--step-tokens", "0"}, "--step-tokens"},
      {{"--encode-slots", "0"}, "--encode-slots"},
      {{"--max-running", "0"}, "--max-running"},
      {{"--layer0-table", "maybe"}, "--layer0-table"},
      {{"--gpu-layers", "some"}, "--gpu-layers"},
      {{"--gpu-layers", "-1"}, "--gpu-layers"},
      {{"--gpu-layers", "9"}, "--gpu-layers"},
      {{"--layer-map", "0_1"}, "--layer-map"},
      {{"--paper"}, "--paper"},
  };
  for (const auto& [flags, flag] : kCases) {
    EXPECT_THAT(RunPlan(With(flags)),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(flag)));
  }
  EXPECT_THAT(RunPlan({"--paper", "--device", "h100"}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--paper")));
  EXPECT_THAT(RunPlan({}), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(RunPlan({"--model", "/nonexistent"}), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(RunPlan(With({"--device-memory", "1GiB"})),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("are needed")));
}

}  // namespace
}  // namespace lckv
