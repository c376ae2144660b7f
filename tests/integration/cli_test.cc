// The `lckv` tool as users run it: up, chat, sessions, tokenize, inspect.

#include <gmock/gmock.h>
#include <signal.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "services/cli/child_process.h"
#include "tests/integration/cluster.h"
#include "tests/testing/golden.h"
#include "tests/testing/status_matchers.h"

namespace lckv::testing {
namespace {

using ::nlohmann::json;
using ::testing::HasSubstr;

absl::Time Deadline() { return absl::Now() + kPatience; }

// What a program that ran to its end printed.
struct Output {
  int status = -1;
  std::vector<std::string> lines;
};

Output RunProgram(const std::vector<std::string>& argv, const std::string& log_path = "") {
  Output output;
  const auto child = ChildProcess::Start({.argv = argv, .log_path = log_path});
  if (!child.ok()) return output;
  for (auto line = (*child)->ReadLine(Deadline()); line.ok();
       line = (*child)->ReadLine(Deadline())) {
    output.lines.push_back(*line);
  }
  output.status = (*child)->Wait(Deadline()).value_or(-1);
  return output;
}

Output Lckv(std::vector<std::string> arguments, const std::string& log_path = "") {
  arguments.insert(arguments.begin(), LCKV_BINARY);
  return RunProgram(arguments, log_path);
}

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string((std::istreambuf_iterator<char>(file)), {});
}

class UpTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = absl::StrCat(::testing::TempDir(), "lckv-up-", getpid());
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    log_ = folder_ + "/tool.log";
  }
  void TearDown() override {
    up_.reset();
    std::filesystem::remove_all(folder_);
  }

  // Starts `lckv up` on a free port.
  void StartUp() {
    ASSERT_OK_AND_ASSIGN(
        up_,
        ChildProcess::Start(
            {.argv = {LCKV_BINARY, "up", "--model", DataPath("models/bard-lckv-w2"), "--data",
                      folder_ + "/data", "--port", "0", "--workers", "2", "--kv-memory", "32MiB"},
             .log_path = log_}));
    ASSERT_OK_AND_ASSIGN(const std::string line, up_->ReadLine(Deadline()));
    const std::vector<std::string> words = absl::StrSplit(line, ' ');
    ASSERT_GE(words.size(), 5u) << line;
    server_ = std::string(absl::StripSuffix(words[4], ","));
  }

  // The turn's last frame.
  json Chat(const std::string& prompt) {
    const Output output = Lckv({"chat", "--server", server_, "--session", "s", "--prompt", prompt,
                                "--max-tokens", "20", "--ignore-eos", "--json"},
                               log_);
    EXPECT_EQ(output.status, 0) << ReadFile(log_);
    return output.lines.empty() ? json() : json::parse(output.lines.back())["done"];
  }

  json ShowSession() {
    const Output output = Lckv({"sessions", "show", "s", "--server", server_, "--json"}, log_);
    EXPECT_EQ(output.status, 0) << ReadFile(log_);
    return output.lines.empty() ? json() : json::parse(output.lines[0]);
  }

  std::string folder_, log_, server_;
  std::unique_ptr<ChildProcess> up_;
};

TEST_F(UpTest, ConversationOutlivesIt) {
  ASSERT_NO_FATAL_FAILURE(StartUp());
  EXPECT_EQ(Chat("Who's there?")["version"], 1);
  const json second = Chat("What news?");
  EXPECT_EQ(second["version"], 2);
  EXPECT_EQ(second["usage"]["generated_tokens"], 20);
  EXPECT_EQ(second["restore_source"], "hot");
  up_->Signal(SIGTERM);
  EXPECT_EQ(up_->Wait(Deadline()), 0);

  ASSERT_NO_FATAL_FAILURE(StartUp());
  EXPECT_EQ(ShowSession()["version"], 2);
  const json third = Chat("Farewell.");
  EXPECT_EQ(third["version"], 3);
  EXPECT_EQ(third["restore_source"], "cache_node");
  EXPECT_EQ(third["usage"]["reencoded_tokens"], 0);

  EXPECT_EQ(Lckv({"sessions", "list", "--server", server_, "--json"}).lines.size(), 1u);
  EXPECT_EQ(Lckv({"sessions", "touch", "s", "--server", server_}).status, 0);
  EXPECT_EQ(Lckv({"sessions", "close", "s", "--server", server_}).status, 0);
  EXPECT_TRUE(Lckv({"sessions", "list", "--server", server_, "--json"}).lines.empty());
  EXPECT_EQ(Lckv({"sessions", "show", "s", "--server", server_}, log_).status, 1);
  EXPECT_THAT(ReadFile(log_), HasSubstr("NOT_FOUND"));
  up_->Signal(SIGINT);
  EXPECT_EQ(up_->Wait(Deadline()), 0);
}

// It restarts nothing: when a part dies it ends, and takes the others with it.
TEST_F(UpTest, EndsWhenAServiceDies) {
  ASSERT_NO_FATAL_FAILURE(StartUp());
  const std::string list =
      ReadFile(absl::StrCat("/proc/", up_->pid(), "/task/", up_->pid(), "/children"));
  std::vector<std::string> children = absl::StrSplit(list, ' ', absl::SkipWhitespace());
  ASSERT_EQ(children.size(), 4u) << list;
  ASSERT_EQ(kill(std::stoi(children[1]), SIGKILL), 0);
  EXPECT_EQ(up_->Wait(Deadline()), 1);
  EXPECT_THAT(ReadFile(log_), HasSubstr("worker-1 ended"));
  for (const std::string& child : children) {
    EXPECT_FALSE(std::filesystem::exists("/proc/" + child)) << child;
  }
}

TEST_F(UpTest, SaysWhatIsWrong) {
  EXPECT_EQ(Lckv({"up", "--model", "/nonexistent", "--data", folder_, "--port", "0"}, log_).status,
            1);
  EXPECT_THAT(ReadFile(log_), HasSubstr("worker-1.log"));
  EXPECT_THAT(ReadFile(folder_ + "/logs/worker-1.log"), HasSubstr("/nonexistent"));
}

TEST(ToolTest, ChatWithoutAServer) {
  const std::string log = absl::StrCat(::testing::TempDir(), "lckv-chat-", getpid(), ".log");
  EXPECT_EQ(Lckv({"chat", "--server", "127.0.0.1:1", "--prompt", "hello"}, log).status, 1);
  EXPECT_THAT(ReadFile(log), HasSubstr("UNAVAILABLE"));
  std::filesystem::remove(log);
}

TEST(ToolTest, HealthOfAServiceThatIsNotThere) {
  EXPECT_EQ(Lckv({"health", "--server", "127.0.0.1:1", "--timeout-seconds", "2"}).status, 1);
}

TEST(ToolTest, TokenizeThereAndBack) {
  const std::string tokenize = absl::StrCat("exec ", LCKV_BINARY, " tokenize --model ",
                                            DataPath("models/bard-lckv-w2"), " ");
  const Output there =
      RunProgram({"/bin/sh", "-c",
                  R"(printf '{"text":"Who is there?"}\n{"text":"<|im_end|>"}\n' | )" + tokenize});
  ASSERT_EQ(there.status, 0);
  ASSERT_EQ(there.lines.size(), 2u);
  EXPECT_GT(json::parse(there.lines[1])["ids"].size(), 1u);

  const Output back = RunProgram(
      {"/bin/sh", "-c", absl::StrCat("printf '", there.lines[0], "\\n' | ", tokenize, "--decode")});
  ASSERT_EQ(back.status, 0);
  ASSERT_EQ(back.lines.size(), 1u);
  EXPECT_EQ(json::parse(back.lines[0])["text"], "Who is there?");

  const Output special = RunProgram(
      {"/bin/sh", "-c", R"(printf '{"text":"<|im_end|>"}\n' | )" + tokenize + "--parse-special"});
  ASSERT_EQ(special.lines.size(), 1u);
  EXPECT_EQ(json::parse(special.lines[0])["ids"], json({2}));

  EXPECT_EQ(
      RunProgram({"/bin/sh", "-c", "printf '{\"ids\":[1]}\\n' | " + tokenize + "2>&1"}).status, 1);
}

TEST(ToolTest, InspectSaysWhatTheMapSaves) {
  const Output output = Lckv({"inspect", "--model", DataPath("models/bard-lckv-w2"), "--json"});
  ASSERT_EQ(output.status, 0);
  ASSERT_EQ(output.lines.size(), 1u);
  const json model = json::parse(output.lines[0]);
  EXPECT_EQ(model["layer_map"], "0_6_6_6_6_6_6_7");
  EXPECT_EQ(model["producers"], json({0, 6, 7}));
  EXPECT_EQ(model["kv_bytes_per_token"], 768);
  EXPECT_EQ(model["kv_bytes_per_token_full_map"], 2048);
  EXPECT_EQ(model["passes"], 9);
  EXPECT_EQ(Lckv({"inspect"}).status == 0, false);
}

}  // namespace
}  // namespace lckv::testing
