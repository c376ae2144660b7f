#include "engine/tokenizer/byte_level.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace lckv {
namespace {

TEST(ByteLevel, KnownCharacters) {
  EXPECT_EQ(ByteLevelCharacter('A'), "A");
  EXPECT_EQ(ByteLevelCharacter(' '), "Ġ");
  EXPECT_EQ(ByteLevelCharacter('\n'), "Ċ");
  EXPECT_EQ(ByteLevelCharacter(0x00), "Ā");
  EXPECT_EQ(ByteLevelCharacter(0xAD), "Ń");
  EXPECT_EQ(ByteLevelCharacter(0xFF), "ÿ");
}

TEST(ByteLevel, EveryByteThereAndBack) {
  std::set<std::string> characters;
  for (int byte = 0; byte < 256; ++byte) {
    const std::string character = ByteLevelCharacter(static_cast<uint8_t>(byte));
    EXPECT_TRUE(characters.insert(character).second);
    EXPECT_EQ(BytesFromByteLevel(character), std::string(1, static_cast<char>(byte)));
  }
}

TEST(ByteLevel, OtherCharactersAreRefused) {
  // A space, a soft hyphen, the first code point after the alphabet, a long character, no UTF-8.
  for (const char* text : {" ", "a b", "\xC2\xAD", "ń", "€", "\xFF", "\xC4"}) {
    EXPECT_EQ(BytesFromByteLevel(text), std::nullopt) << text;
  }
  EXPECT_EQ(BytesFromByteLevel(""), "");
}

}  // namespace
}  // namespace lckv
