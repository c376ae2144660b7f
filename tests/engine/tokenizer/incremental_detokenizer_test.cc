#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>

#include "engine/tokenizer/bpe_tokenizer.h"
#include "engine/tokenizer/byte_level.h"
#include "tests/testing/status_matchers.h"

namespace lckv {
namespace {

constexpr int32_t kSpecialToken = 256;

// Token n < 256 is byte n; token 256 is special.
std::unique_ptr<BpeTokenizer> ByteTokenizer() {
  TokenizerDefinition definition;
  for (int byte = 0; byte < 256; ++byte) {
    definition.tokens.push_back(
        {ByteLevelCharacter(static_cast<uint8_t>(byte)), TokenizerDefinition::TokenKind::kNormal});
  }
  definition.tokens.push_back({"<s>", TokenizerDefinition::TokenKind::kSpecial});
  return BpeTokenizer::Create(std::move(definition)).value();
}

TEST(IncrementalDetokenizer, HoldsHalfACharacterBack) {
  const std::unique_ptr<BpeTokenizer> tokenizer = ByteTokenizer();
  IncrementalDetokenizer stream(tokenizer.get(), /*skip_special=*/true);
  EXPECT_EQ(stream.Push('a'), "a");
  EXPECT_EQ(stream.Push(0xE2), "");
  EXPECT_EQ(stream.Push(kSpecialToken), "");
  EXPECT_EQ(stream.Push(0x82), "");
  EXPECT_EQ(stream.Push(0xAC), "€");
  EXPECT_EQ(stream.Push(9999), "");  // no such token
  EXPECT_EQ(stream.Flush(), "");
}

TEST(IncrementalDetokenizer, ReplacesWhatCannotBecomeValid) {
  const std::unique_ptr<BpeTokenizer> tokenizer = ByteTokenizer();
  IncrementalDetokenizer stream(tokenizer.get(), /*skip_special=*/false);
  EXPECT_EQ(stream.Push(0x80), "\uFFFD");
  EXPECT_EQ(stream.Push(0xF0), "");
  EXPECT_EQ(stream.Push(0x9F), "");
  EXPECT_EQ(stream.Push(kSpecialToken), "\uFFFD<s>");
  EXPECT_EQ(stream.Push(0xC3), "");
  EXPECT_EQ(stream.Flush(), "\uFFFD");
  EXPECT_EQ(stream.Flush(), "");
}

}  // namespace
}  // namespace lckv
