#include "engine/tokenizer/gguf_vocabulary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/tokenizer/tokenizer.h"
#include "tests/testing/status_matchers.h"

namespace lckv {
namespace {

using ::lckv::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

template <typename T>
std::string Raw(T value) {
  std::string bytes(sizeof(T), '\0');
  std::memcpy(bytes.data(), &value, sizeof(T));
  return bytes;
}
std::string RawString(const std::string& text) { return Raw<uint64_t>(text.size()) + text; }

// Metadata values with their GGUF type codes in front.
std::string Text(const std::string& text) { return Raw<uint32_t>(8) + RawString(text); }
std::string Uint(uint32_t value) { return Raw<uint32_t>(4) + Raw(value); }
std::string Flag(bool value) { return Raw<uint32_t>(7) + Raw<uint8_t>(value ? 1 : 0); }
std::string Texts(const std::vector<std::string>& texts) {
  std::string bytes = Raw<uint32_t>(9) + Raw<uint32_t>(8) + Raw<uint64_t>(texts.size());
  for (const std::string& text : texts) bytes += RawString(text);
  return bytes;
}
std::string Ints(const std::vector<int32_t>& values) {
  std::string bytes = Raw<uint32_t>(9) + Raw<uint32_t>(5) + Raw<uint64_t>(values.size());
  for (const int32_t value : values) bytes += Raw(value);
  return bytes;
}

using Keys = std::map<std::string, std::string>;

// a=0 b=1 "Ġ"=2 ab=3, control <s>=4, user-defined <u>=5, unused 6.
Keys Minimal() {
  return {{"tokenizer.ggml.model", Text("gpt2")},
          {"tokenizer.ggml.pre", Text("gpt-2")},
          {"tokenizer.ggml.tokens", Texts({"a", "b", "Ġ", "ab", "<s>", "<u>", "[PAD]"})},
          {"tokenizer.ggml.token_type", Ints({1, 1, 1, 1, 3, 4, 5})},
          {"tokenizer.ggml.merges", Texts({"a b"})}};
}

absl::StatusOr<std::unique_ptr<Tokenizer>> Load(const Keys& keys) {
  const std::string path = ::testing::TempDir() + "/gguf_vocabulary_test.gguf";
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << "GGUF" << Raw<uint32_t>(3) << Raw<uint64_t>(0) << Raw<uint64_t>(keys.size());
  for (const auto& [key, value] : keys) file << RawString(key) << value;
  file.close();
  return Tokenizer::Load(path);
}

TEST(GgufVocabulary, TokenTypes) {
  ASSERT_OK_AND_ASSIGN(const auto tokenizer, Load(Minimal()));
  EXPECT_EQ(tokenizer->vocab_size(), 7);
  EXPECT_EQ(tokenizer->bos_token(), -1);
  EXPECT_TRUE(tokenizer->IsSpecial(4));
  EXPECT_FALSE(tokenizer->IsSpecial(5));
  EXPECT_EQ(tokenizer->TokenBytes(6), "");
  EXPECT_EQ(tokenizer->FindToken("[PAD]"), -1);
  EXPECT_THAT(
      tokenizer->Encode("ab<u> ab<s>", {.add_special = true, .parse_special = true}).value(),
      ElementsAre(3, 5, 2, 3, 4));
  EXPECT_THAT(tokenizer->Encode("<u><s>", {}).value(), ElementsAre(5));
}

TEST(GgufVocabulary, BosAndEosAreAddedOnlyIfTheFileSaysSo) {
  Keys keys = Minimal();
  keys["tokenizer.ggml.bos_token_id"] = Uint(4);
  keys["tokenizer.ggml.eos_token_id"] = Uint(0);
  keys["tokenizer.ggml.add_bos_token"] = Flag(false);
  ASSERT_OK_AND_ASSIGN(const auto without, Load(keys));
  EXPECT_EQ(without->bos_token(), -1);
  keys["tokenizer.ggml.add_bos_token"] = Flag(true);
  keys["tokenizer.ggml.add_eos_token"] = Flag(true);
  ASSERT_OK_AND_ASSIGN(const auto with, Load(keys));
  EXPECT_EQ(with->bos_token(), 4);
  EXPECT_THAT(with->Encode("b", {.add_special = true}).value(), ElementsAre(4, 1, 0));
  EXPECT_THAT(with->Encode("b", {}).value(), ElementsAre(1));
}

TEST(GgufVocabulary, PreDefaultCutsAtPunctuation) {
  Keys keys = Minimal();
  keys["tokenizer.ggml.pre"] = Text("default");
  ASSERT_OK_AND_ASSIGN(const auto tokenizer, Load(keys));
  EXPECT_THAT(tokenizer->PreTokenize("a .b"), ElementsAre("a", " ", ".", "b"));
}

struct BadCase {
  std::string key;
  std::string value;  // empty: the key is missing
  absl::StatusCode code;
  std::string message;
};

TEST(GgufVocabulary, MalformedAndUnsupportedFiles) {
  const absl::StatusCode invalid = absl::StatusCode::kInvalidArgument;
  const absl::StatusCode unimplemented = absl::StatusCode::kUnimplemented;
  const BadCase cases[] = {
      {"tokenizer.ggml.model", "", invalid, "tokenizer.ggml.model"},
      {"tokenizer.ggml.model", Text("llama"), unimplemented, "tokenizer.ggml.model: \"llama\""},
      {"tokenizer.ggml.model", Uint(1), invalid, "tokenizer.ggml.model"},
      {"tokenizer.ggml.pre", "", invalid, "tokenizer.ggml.pre"},
      {"tokenizer.ggml.pre", Text("qwen2"), unimplemented, "tokenizer.ggml.pre: \"qwen2\""},
      {"tokenizer.ggml.tokens", "", invalid, "tokenizer.ggml.tokens"},
      {"tokenizer.ggml.tokens", Ints({1}), invalid, "tokenizer.ggml.tokens"},
      {"tokenizer.ggml.tokens", Texts({}), invalid, "7 types for 0 tokens"},
      {"tokenizer.ggml.tokens", Texts({"a", "b", "a", "ab", "c", "d", "e"}), invalid,
       "token 2: \"a\" is also token 0"},
      {"tokenizer.ggml.tokens", Texts({"a", "b", "", "ab", "c", "d", "e"}), invalid,
       "token 2: empty text"},
      {"tokenizer.ggml.token_type", "", invalid, "tokenizer.ggml.token_type"},
      {"tokenizer.ggml.token_type", Ints({1, 1}), invalid, "2 types for 7 tokens"},
      {"tokenizer.ggml.token_type", Ints({1, 1, 6, 1, 1, 1, 1}), invalid, "token_type[2]"},
      {"tokenizer.ggml.token_type", Ints({1, 1, -1, 1, 1, 1, 1}), invalid, "token_type[2]"},
      {"tokenizer.ggml.merges", "", invalid, "tokenizer.ggml.merges"},
      {"tokenizer.ggml.merges", Texts({"ab"}), invalid, "tokenizer.ggml.merges[0]"},
      {"tokenizer.ggml.merges", Texts({"a z"}), invalid, "merges[0]: \"z\" is not a token"},
      {"tokenizer.ggml.merges", Texts({"a b", "a b"}), invalid, "merges[1]"},
      {"tokenizer.ggml.add_bos_token", Text("yes"), invalid, "tokenizer.ggml.add_bos_token"},
      {"tokenizer.ggml.add_bos_token", Flag(true), invalid, "tokenizer.ggml.bos_token_id"},
  };
  for (const BadCase& c : cases) {
    Keys keys = Minimal();
    keys[c.key] = c.value;
    if (c.value.empty()) keys.erase(c.key);
    EXPECT_THAT(Load(keys), StatusIs(c.code, HasSubstr(c.message))) << c.key;
    EXPECT_THAT(Load(keys), StatusIs(c.code, HasSubstr("gguf_vocabulary_test.gguf"))) << c.key;
  }
  Keys keys = Minimal();
  keys["tokenizer.ggml.add_bos_token"] = Flag(true);
  keys["tokenizer.ggml.bos_token_id"] = Uint(7);
  EXPECT_THAT(Load(keys), StatusIs(invalid, HasSubstr("token id 7 out of range")));
}

}  // namespace
}  // namespace lckv
