#include "services/common/config_file.h"

#include <gmock/gmock.h>

#include <fstream>
#include <random>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "tests/testing/status_matchers.h"

namespace lckv {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::StatusIs;

// "key@source=a,b", so that a list of entries reads as one.
std::vector<std::string> Entries(const ConfigFile& file) {
  std::vector<std::string> entries;
  for (const ConfigFileEntry& entry : file.entries) {
    std::string text = absl::StrCat(entry.key, "@", entry.source, entry.is_list ? "[" : "=");
    for (const std::string& value : entry.values) absl::StrAppend(&text, value, ";");
    entries.push_back(text);
  }
  return entries;
}

std::vector<std::string> Errors(const ConfigFile& file) {
  std::vector<std::string> errors;
  for (const ConfigError& error : file.errors) {
    errors.push_back(absl::StrCat(error.source, ": ", error.message));
  }
  return errors;
}

TEST(ConfigFileTest, ValuesStayAsWritten) {
  const ConfigFile file = ParseConfigFile(
      "# A comment.\n"
      "kv-memory: 85%\n"
      "lease-ttl: 30s   # another\n"
      "data: \"\"\n"
      "model: '/models/it''s here'\n"
      "reflection: yes\n"
      "threads: 010\n"
      "worker: [\"a:1\", b:2]\n"
      "peer:\n"
      "  - \"[::1]:3\"\n"
      "  - c:4\n"
      "none: []\n",
      "w.yaml");
  EXPECT_THAT(Errors(file), IsEmpty());
  EXPECT_THAT(Entries(file),
              ElementsAre("kv-memory@w.yaml:2=85%;", "lease-ttl@w.yaml:3=30s;", "data@w.yaml:4=;",
                          "model@w.yaml:5=/models/it's here;", "reflection@w.yaml:6=yes;",
                          "threads@w.yaml:7=010;", "worker@w.yaml:8[a:1;b:2;",
                          "peer@w.yaml:9[[::1]:3;c:4;", "none@w.yaml:12["));
}

TEST(ConfigFileTest, EmptyFilesSetNothing) {
  for (const char* text : {"", "\n\n", "# only a comment\n", "---\n", "~\n", "{}"}) {
    const ConfigFile file = ParseConfigFile(text, "f");
    EXPECT_THAT(Errors(file), IsEmpty()) << text;
    EXPECT_THAT(file.entries, IsEmpty()) << text;
  }
}

TEST(ConfigFileTest, NamesWhatIsWrongAndWhere) {
  const struct {
    std::string text;
    std::string error;
  } cases[] = {
      {"a: 1\nb: 2\na: 3\n", "f:3: 'a' is given twice, first in line 1"},
      {"a: 1\nb:\n", "f:2: 'b' has no value"},
      {"a: null\n", "f:1: 'a' has no value"},
      {"a: ~\n", "f:1: 'a' has no value"},
      {"- a\n- b\n", "f:1: want lines of the form 'key: value'"},
      {"just a text\n", "f:1: want lines of the form 'key: value'"},
      {"a:\n  b: 1\n", "f:2: 'a' wants one value or a list"},
      {"a: [[1], 2]\n", "f:1: 'a' wants one value or a list"},
      {"a: [1, {b: 2}]\n", "f:1: 'a' wants one value or a list"},
      {"a: [1, , 2]\n", "f:1: 'a' has an empty element"},
      {"a: [1, '']\n", "f:1: 'a' has an empty element"},
      {"'': 1\n", "f:1: a key must be a name"},
      {"~: 1\n", "f:1: a key must be a name"},
      {"[a, b]: 1\n", "f:1: a key must be a name"},
      {"a: &x 1\n", "f:1: anchors"},
      {"a: &x [1]\n", "f:1: anchors"},
      {"&x a: 1\n", "f:1: anchors"},
      {"a: &x 1\nb: *x\n", "f:2: aliases"},
      {"a: !!int 1\n", "f:1: tags (tag:yaml.org,2002:int)"},
      {"a: !mine 1\n", "f:1: tags (!mine)"},
      {"a: 1\n---\nb: 2\n", "f: want one YAML document"},
      {"a: [1, 2\n", "not YAML"},
      {"a: 'open\n", "f:1: not YAML: illegal EOF in scalar"},
      {"a: 1\nb: \"open\nc: 2\n", "f:3: not YAML: illegal EOF in scalar"},
      {"a: [1, 'open\n", "not YAML"},
      {"'open\n", "f:1: not YAML: illegal EOF in scalar"},
      {"a: b: c\n", "f:1: not YAML"},
      {"a: 1\n\tb: 2\n", "not YAML"},
      {"<html>\n  <body>\n", "f:1: want lines of the form 'key: value'"},
      {std::string("a: 1\nb\0: 2\n", 11), "f:2: not a text file: a byte 0x00"},
      {"a: 1\n\x04 b: 2\n", "f:2: not a text file: a byte 0x04"},
      {std::string("\xff\xfe"
                   "a\0:\0",
                   6),
       "f:1: not a text file: a byte 0x00"},
  };
  for (const auto& [text, error] : cases) {
    const std::vector<std::string> errors = Errors(ParseConfigFile(text, "f"));
    EXPECT_THAT(errors, ::testing::Contains(HasSubstr(error))) << text;
  }
}

TEST(ConfigFileTest, WhatIsRightBesideAnErrorIsRead) {
  const ConfigFile file = ParseConfigFile(
      "a: 1\nb: {c: [1, {d: 2}], e: 3}\nf: &x 2\n[g]: 4\nh: [5, *x]\ni: *x\n\"\": 6\nj: 7\n", "f");
  EXPECT_THAT(Entries(file), ElementsAre("a@f:1=1;", "h@f:5[5;", "j@f:8=7;"));
  EXPECT_THAT(Errors(file), ElementsAre(HasSubstr("f:2: 'b' wants"), HasSubstr("f:3: anchors"),
                                        HasSubstr("f:4: a key must"), HasSubstr("f:5: aliases"),
                                        HasSubstr("f:6: aliases"), HasSubstr("f:7: a key must")));
}

// Each line ten times the line before it, had aliases been expanded.
TEST(ConfigFileTest, AliasesAreNotExpanded) {
  std::string text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 30; ++i) {
    absl::StrAppend(&text, "a", i, ": &a", i, " [");
    for (int j = 0; j < 10; ++j) absl::StrAppend(&text, j == 0 ? "" : ", ", "*a", i - 1);
    absl::StrAppend(&text, "]\n");
  }
  const absl::Time began = absl::Now();
  EXPECT_THAT(Errors(ParseConfigFile(text, "f")), ::testing::SizeIs(30));
  EXPECT_LT(absl::Now() - began, absl::Seconds(10));
}

// The largest files there may be, each a way to make a parser work hard.
TEST(ConfigFileTest, HardFilesEndInTime) {
  const std::string cases[] = {
      std::string(kMaxConfigFileBytes, '['), std::string(kMaxConfigFileBytes, '{'),
      std::string(kMaxConfigFileBytes, 'a'), std::string(kMaxConfigFileBytes, '-'),
      std::string(kMaxConfigFileBytes, '"'), std::string(kMaxConfigFileBytes, '\n'),
  };
  for (const std::string& text : cases) {
    const absl::Time began = absl::Now();
    ParseConfigFile(text, "f");
    EXPECT_LT(absl::Now() - began, absl::Seconds(20)) << text.substr(0, 20);
  }
}

// A search of every key among those before it takes 15 seconds.
TEST(ConfigFileTest, ManyKeysAreReadInTime) {
  std::string lines;
  int keys = 0;
  for (; lines.size() + 20 < kMaxConfigFileBytes; ++keys) {
    absl::StrAppend(&lines, "k", keys, ": v\n");
  }
  const absl::Time began = absl::Now();
  EXPECT_EQ(ParseConfigFile(lines, "f").entries.size(), static_cast<size_t>(keys));
  EXPECT_LT(absl::Now() - began, absl::Seconds(8));
}

// Nothing thrown, nothing out of bounds (asan), for any bytes.
TEST(ConfigFileTest, SurvivesDamage) {
  const std::string good =
      "kv-memory: 85%\nworker: [a:1, \"b:2\"]\npeer:\n  - c\n# end\nmodel: '/x'\nflag: true\n";
  const std::string odd = "[]{}&*!|>'\"%@`#:-?,~ \n\t\\x\x80";
  std::mt19937 random(1);
  for (int i = 0; i < 20'000; ++i) {
    std::string text = good;
    for (int j = 0; j < 1 + i % 4; ++j) text[random() % text.size()] = odd[random() % odd.size()];
    ParseConfigFile(text, "f");
  }
}

TEST(ConfigFileTest, ReadsFilesUpToALimit) {
  const std::string path = absl::StrCat(::testing::TempDir(), "lckv-config-", getpid(), ".yaml");
  const auto write = [&path](size_t size) {
    std::ofstream(path, std::ios::binary) << std::string(size, '#');
  };
  write(kMaxConfigFileBytes);
  ASSERT_OK_AND_ASSIGN(const std::string text, ReadConfigFile(path));
  EXPECT_EQ(text.size(), kMaxConfigFileBytes);
  write(kMaxConfigFileBytes + 1);
  EXPECT_THAT(ReadConfigFile(path), StatusIs(absl::StatusCode::kResourceExhausted));
  std::remove(path.c_str());
  EXPECT_THAT(ReadConfigFile(path), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(ReadConfigFile(::testing::TempDir()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("folder")));
  EXPECT_THAT(ReadConfigFile("/dev/zero"), StatusIs(absl::StatusCode::kResourceExhausted));
  // Opens, but does not read: nobody's memory is at 0.
  EXPECT_THAT(ReadConfigFile("/proc/self/mem"),
              StatusIs(absl::StatusCode::kUnknown, HasSubstr("cannot be read")));
}

}  // namespace
}  // namespace lckv
