#include "engine/tokenizer/pre_tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/testing/status_matchers.h"

namespace lckv {
namespace {

using ::lckv::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::vector<std::string> kGpt2 = {std::string(kGpt2Pattern)};
const std::vector<std::string> kSmolLm2 = {std::string(kSingleDigitPattern),
                                           std::string(kGpt2Pattern)};

std::vector<std::string> Split(const std::vector<std::string>& patterns, absl::string_view text) {
  std::vector<std::string> pieces;
  absl::StatusOr<PreTokenizer> pre_tokenizer = PreTokenizer::Create(patterns);
  EXPECT_OK(pre_tokenizer);
  if (!pre_tokenizer.ok()) return pieces;
  EXPECT_OK(
      pre_tokenizer->Split(text, [&](absl::string_view piece) { pieces.emplace_back(piece); }));
  return pieces;
}

TEST(PreTokenizer, Gpt2) {
  EXPECT_THAT(Split(kGpt2, ""), ElementsAre());
  EXPECT_THAT(Split(kGpt2, "I'll go, they've 123 x²!"),
              ElementsAre("I", "'ll", " go", ",", " they", "'ve", " 123", " x", "²", "!"));
  // The last space of a run belongs to the word after it.
  EXPECT_THAT(Split(kGpt2, "a   b \n\n c  "), ElementsAre("a", "  ", " b", " \n\n", " c", "  "));
  EXPECT_THAT(Split(kGpt2, "'S 's"), ElementsAre("'", "S", " '", "s"));
}

TEST(PreTokenizer, Gpt2KnowsUnicode) {
  EXPECT_THAT(Split(kGpt2, "Ünïcödé 你好 ١٢"), ElementsAre("Ünïcödé", " 你好", " ١٢"));
  // No-break space and line separator are white space; the Mongolian vowel separator is not.
  EXPECT_THAT(Split(kGpt2, "a\u00A0\u2028b"), ElementsAre("a", "\u00A0", "\u2028", "b"));
  EXPECT_THAT(Split(kGpt2, "a \u180E!b"), ElementsAre("a", " \u180E!", "b"));
}

TEST(PreTokenizer, SmolLm2CutsEachDigitFirst) {
  EXPECT_THAT(Split(kSmolLm2, "abc123 45"), ElementsAre("abc", "1", "2", "3", " ", "4", "5"));
  // A pattern sees one piece: the run of spaces before a digit ends its piece and stays whole.
  EXPECT_THAT(Split(kSmolLm2, "a  1  b"), ElementsAre("a", "  ", "1", " ", " b"));
}

TEST(PreTokenizer, GgmlDefault) {
  EXPECT_THAT(Split(GgmlDefaultPatterns(), "well... 12345 a+b\tc"),
              ElementsAre("well", "...", " ", "123", "45", " a", "+", "b", "\t", "c"));
}

TEST(PreTokenizer, WithoutPatternsTextStaysWhole) {
  EXPECT_THAT(Split({}, "a b  c"), ElementsAre("a b  c"));
}

TEST(PreTokenizer, ABadPatternIsAnError) {
  EXPECT_THAT(PreTokenizer::Create({"a", "(b"}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("at byte 2")));
}

TEST(PreTokenizer, LongRunsAreOnePiece) {
  for (const char* unit : {"a", "é", "1", " ", "\n", "!"}) {
    std::string run;
    while (run.size() < (size_t{1} << 21)) run += unit;
    EXPECT_THAT(Split(kGpt2, run), ElementsAre(run)) << unit;
    // The run of spaces now has to give one back.
    if (*unit == ' ') {
      EXPECT_EQ(Split(kGpt2, run + "a").size(), 2u);
    }
  }
}

}  // namespace
}  // namespace lckv
