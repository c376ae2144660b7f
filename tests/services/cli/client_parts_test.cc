#include <gmock/gmock.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "services/cli/gateway_client.h"
#include "services/cli/json_output.h"
#include "services/cli/service_process.h"
#include "services/cli/token_file.h"
#include "tests/testing/status_matchers.h"

namespace lckv {
namespace {

using ::lckv::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(EncodePolicyTest, ThereAndBack) {
  for (const std::string text : {"iterated", "iterated(12)", "sequential"}) {
    ASSERT_OK_AND_ASSIGN(const v1::EncodePolicy policy, ParseEncodePolicy(text));
    EXPECT_EQ(Name(policy), text);
  }
  for (const char* text : {"iterate", "iterated(", "iterated()", "iterated(0)", "iterated(-1)",
                           "iterated(2) ", "Sequential"}) {
    EXPECT_THAT(ParseEncodePolicy(text), StatusIs(absl::StatusCode::kInvalidArgument)) << text;
  }
}

TEST(DurabilityTest, ThereAndBack) {
  EXPECT_EQ(Name(ParseDurability("durable").value()), "durable");
  EXPECT_EQ(Name(ParseDurability("memory").value()), "memory");
  EXPECT_THAT(ParseDurability("maybe"), StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(JsonOutputTest, FramesHaveOnlyWhatIsThere) {
  v1::GenerateResponse frame;
  frame.add_token_ids(7);
  frame.set_text("a\"b");
  EXPECT_EQ(ToLine(ToJson(frame)), R"({"token_ids":[7],"text":"a\"b"})");

  frame.Clear();
  frame.mutable_done()->set_finish_reason(v1::LENGTH);
  frame.mutable_done()->set_restore_source(v1::CACHE_NODE);
  frame.mutable_done()->mutable_usage()->set_restored_bytes(uint64_t{1} << 40);
  const nlohmann::json done = nlohmann::json::parse(ToLine(ToJson(frame)))["done"];
  EXPECT_EQ(done["finish_reason"], "length");
  EXPECT_EQ(done["restore_source"], "cache_node");
  EXPECT_EQ(done["usage"]["restored_bytes"], uint64_t{1} << 40);
}

TEST(ReadyLineTest, ParsedOrRefused) {
  ASSERT_OK_AND_ASSIGN(
      const ReadyLine ready,
      ParseReadyLine(R"({"service":"gateway","listen":"127.0.0.1:1","metrics":"127.0.0.1:2"})"));
  EXPECT_EQ(ready.listen, "127.0.0.1:1");
  EXPECT_EQ(ready.metrics, "127.0.0.1:2");
  EXPECT_EQ(ParseReadyLine(R"({"listen":"a:1"})").value().metrics, "");
  for (const char* line : {"", "hello", "[]", "{}", R"({"listen":7})"}) {
    EXPECT_THAT(ParseReadyLine(line), StatusIs(absl::StatusCode::kInvalidArgument)) << line;
  }
}

TEST(StartServiceTest, SaysWhatTheChildDidInstead) {
  EXPECT_THAT(StartService({"/bin/false", "worker"}, "/dev/null", absl::Now() + absl::Minutes(1)),
              StatusIs(absl::StatusCode::kUnavailable,
                       HasSubstr("worker ended with status 1, see /dev/null")));
  EXPECT_THAT(
      StartService({"/bin/echo", "worker"}, "/dev/null", absl::Now() + absl::Minutes(1)),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("worker: no ready line: worker")));
}

class TokenFileTest : public ::testing::Test {
 protected:
  absl::StatusOr<std::vector<int32_t>> Read(const std::string& text) {
    const std::string path = ::testing::TempDir() + "token_file_test.json";
    std::ofstream(path) << text;
    return ReadTokenFile(path);
  }
};

TEST_F(TokenFileTest, ReadsIds) {
  EXPECT_THAT(Read(R"({"tokens":[1, 2, 2147483647]})").value(), ElementsAre(1, 2, INT32_MAX));
}

TEST_F(TokenFileTest, NamesWhatIsWrong) {
  EXPECT_THAT(ReadTokenFile("/nonexistent"), StatusIs(absl::StatusCode::kNotFound));
  for (const char* text :
       {"", "[1]", "{}", R"({"tokens":7})", R"({"tokens":[]})", "{\"tokens\":[1"}) {
    EXPECT_THAT(Read(text), StatusIs(absl::StatusCode::kInvalidArgument)) << text;
  }
  for (const char* token : {"-1", "2147483648", "1.5", "\"1\"", "null"}) {
    EXPECT_THAT(Read(std::string("{\"tokens\":[3,") + token + "]}"),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("tokens[1]")))
        << token;
  }
}

}  // namespace
}  // namespace lckv
