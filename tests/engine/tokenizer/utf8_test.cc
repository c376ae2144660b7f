#include "engine/tokenizer/utf8.h"

#include <gtest/gtest.h>

#include <string>

namespace lckv {
namespace {

struct Case {
  std::string bytes;
  std::string text;
};

TEST(Utf8, ReplacesEachMaximalSubpart) {
  const std::string r = "\xEF\xBF\xBD";  // U+FFFD
  const Case cases[] = {
      {"", ""},
      {"plain", "plain"},
      {"\x7F\xC2\x80\xDF\xBF", "\x7F\xC2\x80\xDF\xBF"},
      {"\xE0\xA0\x80\xED\x9F\xBF\xEE\x80\x80", "\xE0\xA0\x80\xED\x9F\xBF\xEE\x80\x80"},
      {"\xF0\x90\x80\x80\xF4\x8F\xBF\xBF", "\xF0\x90\x80\x80\xF4\x8F\xBF\xBF"},
      {"\x80\xBF", r + r},                  // continuations alone
      {"\xC0\xAF", r + r},                  // overlong
      {"\xE0\x80\x80", r + r + r},          // overlong
      {"\xED\xA0\x80", r + r + r},          // a surrogate
      {"\xF4\x90\x80\x80", r + r + r + r},  // above U+10FFFF
      {"\xF5\xFF", r + r},                  // no lead bytes
      {"\xE2\x82Z", r + "Z"},               // one subpart, then a letter
      {"\xF0\x9F\x92\xF0\x9F\x92\xA9", r + "\xF0\x9F\x92\xA9"},
      {"a\xF0\x9F\x92", "a" + r},  // cut at the end
      // The example of the Unicode standard, section 3.9.
      {"\x61\xF1\x80\x80\xE1\x80\xC2\x62\x80\x63\x80\xBF\x64",
       "a" + r + r + r + "b" + r + "c" + r + r + "d"},
  };
  for (const Case& c : cases) EXPECT_EQ(ReplaceInvalidUtf8(c.bytes), c.text) << c.text;
}

TEST(Utf8, TakeLeavesAnIncompleteSequence) {
  const std::string emoji = "\xF0\x9F\x92\xA9";
  for (size_t length = 1; length < emoji.size(); ++length) {
    const std::string bytes = "x" + emoji.substr(0, length);
    absl::string_view rest;
    EXPECT_EQ(TakeUtf8(bytes, &rest), "x");
    EXPECT_EQ(rest, emoji.substr(0, length));
  }
  absl::string_view rest = "old";
  EXPECT_EQ(TakeUtf8(emoji, &rest), emoji);
  EXPECT_EQ(rest, "");
}

}  // namespace
}  // namespace lckv
