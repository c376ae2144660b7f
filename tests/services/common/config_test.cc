#include "services/common/config.h"

#include <gmock/gmock.h>
#include <stdlib.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "services/common/config_file.h"
#include "services/common/config_layers.h"
#include "services/common/config_output.h"
#include "services/common/flags.h"

namespace lckv {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StrEq;

enum class Color { kRed, kBlue };

// A service with every kind of option.
struct Options {
  std::string model = "none";
  std::vector<std::string> workers;
  std::string peer;
  int threads = 1;
  bool reflection = false;
  absl::Duration grace = absl::Seconds(10);
  int64_t bytes = int64_t{256} << 20;
  Color color = Color::kRed;
  std::string api_token;
};

class ConfigTest : public ::testing::Test {
 protected:
  void SetUp() override {
    path_ = absl::StrCat(::testing::TempDir(), "lckv-config-", getpid(), ".yaml");
    for (const char* name : kVariables) unsetenv(name);
  }
  void TearDown() override {
    for (const char* name : kVariables) unsetenv(name);
    std::remove(path_.c_str());
  }

  // Reads the layers into a new options_. The program goes on: no status.
  std::optional<int> Read(std::vector<std::string> flags, const std::string& file = "") {
    options_ = Options();
    CLI::App app("A service of the test.", "tester");
    app.add_option("--model", options_.model, "what runs")->capture_default_str();
    app.add_option("--worker", options_.workers, "host:port; repeat for each")->check(CheckAddress);
    app.add_option("--peer,--other-peer", options_.peer, "host:port | nobody")
        ->required()
        ->check(CheckAddress);
    app.add_option("--threads", options_.threads, "that compute")
        ->check(CLI::Range(1, 64))
        ->capture_default_str();
    app.add_flag("--reflection", options_.reflection, "serve it");
    AddDurationFlag(app, "--grace", &options_.grace, "at the end");
    AddBytesFlag(app, "--bytes", &options_.bytes, "of memory");
    AddChoiceFlag<Color>(app, "--color", &options_.color,
                         {{"red", Color::kRed}, {"blue", Color::kBlue}}, "red or blue");
    app.add_option("--api-token", options_.api_token, "a secret")->check([](const std::string& t) {
      return t == "bad" ? "bad is not a token" : std::string();
    });
    if (!file.empty()) {
      std::ofstream(path_, std::ios::binary) << file;
      flags.insert(flags.end(), {"--config", path_});
    }
    flags.insert(flags.begin(), "tester");
    std::vector<char*> argv;
    for (std::string& flag : flags) argv.push_back(flag.data());
    ::testing::internal::CaptureStdout();
    ::testing::internal::CaptureStderr();
    const std::optional<int> status =
        ReadConfig(app, static_cast<int>(argv.size()), argv.data(), [this] { return problems_; });
    out_ = ::testing::internal::GetCapturedStdout();
    errors_ = ::testing::internal::GetCapturedStderr();
    return status;
  }

  static constexpr const char* kVariables[] = {"LCKV_MODEL",
                                               "LCKV_WORKER",
                                               "LCKV_PEER",
                                               "LCKV_OTHER_PEER",
                                               "LCKV_THREADS",
                                               "LCKV_REFLECTION",
                                               "LCKV_GRACE",
                                               "LCKV_THRAEDS",
                                               "LCKV_OTHER",
                                               "LCKV_CONFIG",
                                               "LCKV_PEER_SERVICE_HOST",
                                               "LCKV_API_TOKEN"};
  Options options_;
  std::vector<ConfigProblem> problems_;
  std::string path_, out_, errors_;
};

TEST_F(ConfigTest, FlagsWinOverTheEnvironmentAndThatOverTheFile) {
  const std::string file = "threads: 2\npeer: f:1\n";
  for (const bool flag : {false, true}) {
    for (const bool variable : {false, true}) {
      for (const bool in_file : {false, true}) {
        if (variable) setenv("LCKV_THREADS", "3", 1);
        std::vector<std::string> flags = {"--peer", "p:1"};
        if (flag) flags.insert(flags.end(), {"--threads", "4"});
        EXPECT_EQ(Read(flags, in_file ? file : ""), std::nullopt) << errors_;
        EXPECT_EQ(options_.threads, flag ? 4 : variable ? 3 : in_file ? 2 : 1);
        EXPECT_EQ(options_.peer, "p:1");
        unsetenv("LCKV_THREADS");
      }
    }
  }
}

TEST_F(ConfigTest, EveryKindOfValueInEveryLayer) {
  ASSERT_EQ(Read({},
                 "model: '/m: x'\nworker: [a:1, \"[::1]:2\"]\nother-peer: p:1\nreflection: on\n"
                 "grace: 1m30s\nbytes: 4KiB\ncolor: BLUE\napi-token: \"t\"\n"),
            std::nullopt)
      << errors_;
  EXPECT_EQ(options_.model, "/m: x");
  EXPECT_THAT(options_.workers, ElementsAre("a:1", "[::1]:2"));
  EXPECT_EQ(options_.peer, "p:1");
  EXPECT_TRUE(options_.reflection);
  EXPECT_EQ(options_.grace, absl::Seconds(90));
  EXPECT_EQ(options_.bytes, 4096);
  EXPECT_EQ(options_.color, Color::kBlue);

  setenv("LCKV_WORKER", " c:3 ,d:4,", 1);
  setenv("LCKV_REFLECTION", "false", 1);
  setenv("LCKV_MODEL", "", 1);  // as if it was not set
  setenv("LCKV_PEER", "e:5", 1);
  ASSERT_EQ(Read({}, "model: m\nworker: a:1\nreflection: true\n"), std::nullopt) << errors_;
  EXPECT_EQ(options_.model, "m");
  EXPECT_THAT(options_.workers, ElementsAre("c:3", "d:4"));
  EXPECT_EQ(options_.peer, "e:5");
  EXPECT_FALSE(options_.reflection);

  ASSERT_EQ(Read({"--worker", "x:1", "--worker=y:2", "--reflection", "--model", ""}), std::nullopt);
  EXPECT_THAT(options_.workers, ElementsAre("x:1", "y:2"));
  EXPECT_TRUE(options_.reflection);
  EXPECT_EQ(options_.model, "");
}

TEST_F(ConfigTest, TheFileMayBeNamedByTheEnvironment) {
  std::ofstream(path_) << "peer: p:7\n";
  setenv("LCKV_CONFIG", path_.c_str(), 1);
  ASSERT_EQ(Read({}), std::nullopt) << errors_;
  EXPECT_EQ(options_.peer, "p:7");
}

TEST_F(ConfigTest, EveryErrorIsReportedWithItsSource) {
  setenv("LCKV_THREADS", "65", 1);
  EXPECT_EQ(Read({"--color", "green", "--thread", "4", "x"},
                 "peer: p\nthraeds: 2\nworker: [a:1, b]\nreflection: maybe\nthreads: two\n"
                 "model: [a, b]\n"),
            1);
  EXPECT_THAT(out_, IsEmpty());
  for (const std::string& expected : {
           std::string("flag --color: want red or blue\n"),
           std::string("flag --thread: unknown, did you mean --threads?\n"),
           std::string("environment LCKV_THREADS: Value 65 not in range 1 to 64\n"),
           path_ + ":1: peer: address 'p': want host:port\n",
           path_ + ":2: unknown key 'thraeds', did you mean 'threads'?\n",
           path_ + ":3: worker: address 'b': want host:port\n",
           path_ + ":4: reflection: 'maybe' is not true or false\n",
           path_ + ":5: threads: Value two not in range 1 to 64\n",
           path_ + ":6: model: wants one value, not a list\n",
       }) {
    EXPECT_THAT(errors_, HasSubstr("lckv tester: " + expected));
  }
}

// A stronger layer decides, and yet the weaker one's mistake is found.
TEST_F(ConfigTest, WrongValuesAreFoundInEveryLayer) {
  setenv("LCKV_GRACE", "soon", 1);
  EXPECT_EQ(Read({"--peer", "p:1", "--grace", "1s", "--threads", "3"}, "threads: 0\n"), 1);
  EXPECT_THAT(errors_, AllOf(HasSubstr("environment LCKV_GRACE: want a positive duration"),
                             HasSubstr(":1: threads: Value 0 not in range 1 to 64")));
}

TEST_F(ConfigTest, DurationsArePositiveAndEnd) {
  for (const char* text : {"0s", "-1s", "inf", "1e300h", "10", ""}) {
    EXPECT_EQ(Read({"--peer", "p:1", "--grace", text}), 1) << text;
    EXPECT_THAT(errors_, HasSubstr("want a positive duration")) << text;
  }
}

TEST_F(ConfigTest, FlagsThatCannotBeRead) {
  const struct {
    std::vector<std::string> flags;
    const char* error;
  } cases[] = {
      {{"--nothing"}, "flag --nothing: unknown\n"},
      {{"--workers=a:1"}, "flag --workers: unknown, did you mean --worker?"},
      {{"stray"}, "argument 'stray': not expected"},
      {{"--threads"}, "--threads: 1 required value missing"},
      {{"--threads", "1", "--threads", "2"}, "flag --threads: wants one value"},
      {{"--reflection=perhaps"}, "flag --reflection: 'perhaps' is not true or false"},
      {{"--config"}, "--config: 1 required value missing"},
      {{"--config", ""}, "flag --config: wants the name of a file"},
      {{"--config", "a", "--config", "b"}, "flag --config: wants one file"},
      {{"--config", "/nowhere/f.yaml"}, "/nowhere/f.yaml: cannot be opened"},
  };
  for (const auto& [flags, error] : cases) {
    std::vector<std::string> all = {"--peer", "p:1"};
    all.insert(all.end(), flags.begin(), flags.end());
    EXPECT_EQ(Read(all), 1) << error;
    EXPECT_THAT(errors_, HasSubstr(error));
  }
}

TEST_F(ConfigTest, RequiredKeysComeFromAnyLayer) {
  EXPECT_EQ(Read({}), 1);
  EXPECT_THAT(errors_, HasSubstr("--peer: is required, or LCKV_PEER, or 'peer' in the file"));
  EXPECT_EQ(Read({}, "peer: p:1\n"), std::nullopt);
  setenv("LCKV_PEER", "p:1", 1);
  EXPECT_EQ(Read({}), std::nullopt);
  // A file that cannot be read may hold it.
  unsetenv("LCKV_PEER");
  EXPECT_EQ(Read({"--config", "/nowhere"}), 1);
  EXPECT_THAT(errors_, Not(HasSubstr("required")));
}

TEST_F(ConfigTest, UnknownVariables) {
  setenv("LCKV_OTHER", "x", 1);
  setenv("LCKV_PEER_SERVICE_HOST", "10.0.0.1", 1);
  ASSERT_EQ(Read({"--peer", "p:1"}), std::nullopt);
  EXPECT_THAT(errors_, AllOf(HasSubstr("LCKV_OTHER"), HasSubstr("warning"),
                             Not(HasSubstr("LCKV_PEER_SERVICE_HOST"))));
  setenv("LCKV_THRAEDS", "3", 1);
  EXPECT_EQ(Read({"--peer", "p:1"}), 1);
  EXPECT_THAT(errors_, HasSubstr("environment LCKV_THRAEDS: unknown, did you mean LCKV_THREADS?"));
}

TEST_F(ConfigTest, TwoNamesOfOneKey) {
  EXPECT_EQ(Read({}, "peer: p:1\nother-peer: q:2\n"), 1);
  EXPECT_THAT(errors_, HasSubstr(":2: 'other-peer' is given twice: it is another name of 'peer'"));
  setenv("LCKV_OTHER_PEER", "q:2", 1);
  ASSERT_EQ(Read({}), std::nullopt);
  EXPECT_EQ(options_.peer, "q:2");
}

TEST_F(ConfigTest, CheckEndsWithAStatus) {
  EXPECT_EQ(Read({"--check-config", "--peer", "p:1"}, "threads: 3\n"), 0);
  EXPECT_THAT(out_, StrEq("tester: the configuration is valid, 2 keys are set\n"));
  EXPECT_EQ(Read({"--check-config"}), 1);
  problems_ = {{"threads", "too few"},
               {"model", "does not fit"},
               {"color", "is ugly"},
               {"", "OTHERS_VARIABLE: is odd"}};
  EXPECT_EQ(Read({"--check-config", "--peer", "p:1", "--color", "red"}, "threads: 3\n"), 1);
  EXPECT_THAT(errors_,
              AllOf(HasSubstr(path_ + ":1: threads: too few\n"),
                    HasSubstr("--model: does not fit\n"), HasSubstr("flag --color: is ugly\n"),
                    HasSubstr("lckv tester: environment: OTHERS_VARIABLE: is odd\n")));
}

TEST_F(ConfigTest, PrintsWhatIsInEffectAndWhereItIsFrom) {
  setenv("LCKV_GRACE", "20s", 1);
  setenv("LCKV_API_TOKEN", "hush", 1);
  EXPECT_EQ(Read({"--print-config", "--worker", "a:1", "--worker", "b:2", "--reflection"},
                 "peer: p:1\nmodel: \"a \\\"b\\\" #c\"\n"),
            0);
  EXPECT_THAT(out_, StrEq(absl::StrCat("# lckv tester\n"
                                       "model: \"a \\\"b\\\" #c\"  # ",
                                       path_,
                                       ":2\n"
                                       "worker: [\"a:1\", \"b:2\"]  # flag --worker\n"
                                       "peer: \"p:1\"  # ",
                                       path_,
                                       ":1\n"
                                       "threads: 1  # default\n"
                                       "reflection: true  # flag --reflection\n"
                                       "grace: 20s  # environment LCKV_GRACE\n"
                                       "bytes: \"256 MiB\"  # default\n"
                                       "color: red  # default\n"
                                       "api-token: \"********\"  # environment LCKV_API_TOKEN\n")));
}

TEST_F(ConfigTest, WhatIsPrintedCanBeRead) {
  ASSERT_EQ(Read({"--print-config", "--peer", "p:1", "--worker", "a:1", "--grace", "1.5s",
                  "--model", "null", "--bytes", "3kB", "--color", "blue"}),
            0);
  const std::string printed = out_;
  ASSERT_EQ(Read({}, printed), std::nullopt) << errors_;
  EXPECT_EQ(options_.model, "null");
  EXPECT_THAT(options_.workers, ElementsAre("a:1"));
  EXPECT_EQ(options_.grace, absl::Milliseconds(1500));
  EXPECT_EQ(options_.bytes, 3000);
  EXPECT_EQ(options_.color, Color::kBlue);
}

TEST_F(ConfigTest, SecretsAreNotInErrors) {
  EXPECT_EQ(Read({"--peer", "p:1", "--api-token", "bad"}), 1);
  EXPECT_THAT(errors_, StrEq("lckv tester: flag --api-token: wrong value\n"));
  for (const char* key : {"token", "api-token", "client-secret", "db-password", "x-api-key"}) {
    EXPECT_TRUE(IsSecret(key)) << key;
  }
  for (const char* key : {"step-tokens", "api-keys", "tls-key", "tokenizer", "mytoken"}) {
    EXPECT_FALSE(IsSecret(key)) << key;
  }
}

TEST_F(ConfigTest, HelpNeedsNothing) {
  EXPECT_EQ(Read({"--help"}), 0);
  EXPECT_THAT(out_, AllOf(HasSubstr("Usage: lckv tester [OPTIONS]"), HasSubstr("--threads"),
                          HasSubstr("--check-config")));
  EXPECT_EQ(Read({"--help-config"}), 0);
  EXPECT_THAT(out_, AllOf(HasSubstr("| `threads` | `1` | that compute |\n"),
                          HasSubstr("| `peer` | required | host:port \\| nobody |\n"),
                          HasSubstr("| `worker` |  | host:port; repeat for each (list) |\n"),
                          Not(HasSubstr("check-config"))));
}

TEST(YamlScalarTest, IsReadBackAsItWas) {
  for (const std::string& value :
       {std::string(), std::string("a"), std::string("a b"), std::string("a: b"), std::string("#a"),
        std::string("null"), std::string("~"), std::string("-1"), std::string("'"),
        std::string("\"\\"), std::string("[a]"), std::string("a\nb\tc\x01"), std::string("0_6_…"),
        std::string("%x"), std::string("*a"), std::string("127.0.0.1:0")}) {
    const ConfigFile file = ParseConfigFile(absl::StrCat("k: ", YamlScalar(value), "\n"), "f");
    ASSERT_THAT(file.errors, IsEmpty()) << value;
    EXPECT_THAT(file.entries.at(0).values, ElementsAre(value));
  }
}

TEST(InWordsTest, ListsNames) {
  EXPECT_EQ(InWords({}), "");
  EXPECT_EQ(InWords({"a"}), "a");
  EXPECT_EQ(InWords({"a", "b"}), "a or b");
  EXPECT_EQ(InWords({"a", "b", "c"}), "a, b or c");
}

}  // namespace
}  // namespace lckv
