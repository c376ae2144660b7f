#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "engine/tokenizer/added_tokens.h"
#include "engine/tokenizer/bpe_model.h"
#include "engine/tokenizer/pre_tokenizer.h"
#include "engine/tokenizer/tokenizer.h"
#include "engine/tokenizer/tokenizer_definition.h"

namespace lckv {

// The byte-level BPE tokenizer. Encoding goes: invalid UTF-8 replaced -> cut at added tokens -> the
// text between them cut into pre-tokens -> each pre-token's bytes joined by BPE.
class BpeTokenizer final : public Tokenizer {
 public:
  // Checks the definition and builds from it. INVALID_ARGUMENT: two tokens with one text, a text
  // that is empty or too long, a merge with a text that is no token, a pair merged twice, an id out
  // of range.
  static absl::StatusOr<std::unique_ptr<BpeTokenizer>> Create(TokenizerDefinition definition);

  absl::StatusOr<std::vector<int32_t>> Encode(absl::string_view text,
                                              const EncodeOptions& options) const override;
  absl::StatusOr<std::string> Decode(absl::Span<const int32_t> ids,
                                     bool skip_special) const override;
  absl::string_view TokenBytes(int32_t id) const override;
  bool IsSpecial(int32_t id) const override;
  int32_t FindToken(absl::string_view content) const override;
  int32_t vocab_size() const override { return static_cast<int32_t>(tokens_.size()); }
  int32_t bos_token() const override { return prefix_ids_.empty() ? -1 : prefix_ids_[0]; }
  std::vector<std::string> PreTokenize(absl::string_view text) const override;

 private:
  struct Token {
    std::string bytes;
    TokenizerDefinition::TokenKind kind;
  };

  BpeTokenizer(PreTokenizer pre_tokenizer, BpeModel model, TokenizerDefinition definition);
  absl::Status EncodePlain(absl::string_view text, BpeModel::Scratch* scratch,
                           std::vector<int32_t>* ids) const;
  void EncodePretoken(absl::string_view pretoken, BpeModel::Scratch* scratch,
                      std::vector<int32_t>* ids) const;

  const PreTokenizer pre_tokenizer_;
  const BpeModel model_;
  const bool ignore_merges_;
  const std::vector<int32_t> prefix_ids_;
  const std::vector<int32_t> suffix_ids_;
  std::vector<Token> tokens_;  // index = id
  absl::flat_hash_map<std::string, int32_t>
      id_by_bytes_;  // added and special tokens before normal ones
  AddedTokenMatcher added_tokens_;
};

}  // namespace lckv
