#include "base/log.h"

#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "absl/time/time.h"

namespace lckv {
namespace {

// What `write` puts on standard error, one parsed line each.
template <typename F>
std::vector<nlohmann::json> Lines(F&& write) {
  ::testing::internal::CaptureStderr();
  write();
  const std::string text = ::testing::internal::GetCapturedStderr();
  std::vector<nlohmann::json> lines;
  for (const absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    lines.push_back(nlohmann::json::parse(line.begin(), line.end(), nullptr, false));
    EXPECT_TRUE(lines.back().is_object()) << line;
  }
  return lines;
}

TEST(LogTest, ALineIsOneJsonObject) {
  const auto lines = Lines([] {
    LogInfo("restored", {{"session", "s-1"},
                         {"tokens", int64_t{1} << 40},
                         {"seconds", 0.5},
                         {"cold", true},
                         {"count", 7}});
  });
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_EQ(lines[0]["level"], "info");
  EXPECT_EQ(lines[0]["msg"], "restored");
  EXPECT_EQ(lines[0]["session"], "s-1");
  EXPECT_EQ(lines[0]["tokens"], int64_t{1} << 40);
  EXPECT_EQ(lines[0]["seconds"], 0.5);
  EXPECT_EQ(lines[0]["cold"], true);
  EXPECT_EQ(lines[0]["count"], 7);
  absl::Time time;
  std::string error;
  EXPECT_TRUE(absl::ParseTime(absl::RFC3339_full, lines[0]["ts"].get<std::string>(), &time, &error))
      << error;
}

TEST(LogTest, WhateverTheTextItStaysOneLine) {
  const std::string nasty = "a\"b\\c\nd\te\x01é\x7f";
  const auto lines = Lines([&] {
    LogError(nasty, {{"key \"with\" quotes", nasty}, {"zero", std::string("a\0b", 3)}});
    LogWarning("not UTF-8", {{"bytes", "\xff\xfe"}});
    LogInfo("{} %s {0}", {{"nan", std::numeric_limits<double>::quiet_NaN()}});
  });
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[0]["msg"], nasty);
  EXPECT_EQ(lines[0]["level"], "error");
  EXPECT_EQ(lines[0]["key \"with\" quotes"], nasty);
  EXPECT_EQ(lines[0]["zero"], std::string("a\0b", 3));
  EXPECT_EQ(lines[1]["bytes"], "\xEF\xBF\xBD\xEF\xBF\xBD");
  EXPECT_EQ(lines[2]["msg"], "{} %s {0}");
  EXPECT_TRUE(lines[2]["nan"].is_null());
}

TEST(LogTest, LevelsBelowTheSetOneAreDropped) {
  const auto lines = Lines([] {
    LogDebug("hidden");
    SetLogLevel(LogLevel::kDebug);
    LogDebug("seen");
    SetLogLevel(LogLevel::kError);
    LogWarning("hidden");
    LogError("seen too");
    SetLogLevel(LogLevel::kInfo);
  });
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0]["msg"], "seen");
  EXPECT_EQ(lines[1]["msg"], "seen too");
}

TEST(LogTest, TheServiceIsInEveryLine) {
  const auto lines = Lines([] {
    LogInfo("before");
    SetLogService("worker");
    LogInfo("after");
    SetLogService("");
  });
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_FALSE(lines[0].contains("service"));
  EXPECT_EQ(lines[1]["service"], "worker");
}

}  // namespace
}  // namespace lckv
