#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace lckv {

// What a byte-level BPE tokenizer is made of, whichever file it came from: the readers
// (tokenizer_json.h, gguf_vocabulary.h) fill it, BpeTokenizer checks that it is consistent and
// builds from it.
struct TokenizerDefinition {
  // Far above published vocabularies (262,144 tokens); bounds what a hostile file can make us
  // allocate.
  static constexpr int64_t kMaxTokens = int64_t{1} << 20;
  static constexpr int64_t kMaxMerges = int64_t{1} << 21;
  static constexpr int64_t kMaxTokenTextBytes = 4096;

  enum class TokenKind : uint8_t {
    kUnused,   // an id without a text: decodes to nothing
    kNormal,   // made by BPE; its text is written in the byte-level alphabet
    kAdded,    // matched in the text before BPE, always
    kSpecial,  // matched in the text before BPE, on request
  };
  struct Token {
    std::string text;
    TokenKind kind = TokenKind::kUnused;
  };

  std::vector<Token> tokens;  // index = id
  std::vector<std::pair<std::string, std::string>>
      merges;                               // texts of two tokens, highest priority first
  std::vector<std::string> split_patterns;  // see PreTokenizer
  bool ignore_merges = false;               // a pre-token that is a token is not merged from bytes
  std::vector<int32_t> prefix_ids;          // what add_special puts in front of a text
  std::vector<int32_t> suffix_ids;          // … and behind it
};

// "left right" -> the two. INVALID_ARGUMENT unless exactly one space separates two texts.
absl::StatusOr<std::pair<std::string, std::string>> ParseMerge(absl::string_view text);

}  // namespace lckv
