#include "engine/tokenizer/gguf_vocabulary.h"

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/tokenizer/pre_tokenizer.h"

namespace lckv {
namespace {

using TokenKind = TokenizerDefinition::TokenKind;

constexpr absl::string_view kTokens = "tokenizer.ggml.tokens";
constexpr absl::string_view kTokenTypes = "tokenizer.ggml.token_type";
constexpr absl::string_view kMerges = "tokenizer.ggml.merges";
constexpr absl::string_view kPre = "tokenizer.ggml.pre";

absl::Status Malformed(const GgufFile& file, absl::string_view key, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(file.path(), ": ", key, ": ", what));
}

// Reading a vocabulary without one of its keys is an error of the file, not of the caller.
template <typename T>
absl::StatusOr<T> Required(absl::StatusOr<T> value) {
  if (absl::IsNotFound(value.status())) {
    return absl::InvalidArgumentError(value.status().message());
  }
  return value;
}

absl::StatusOr<bool> BoolOrFalse(const GgufFile& file, absl::string_view key) {
  if (file.Find(key) == nullptr) return false;
  return file.GetBool(key);
}

absl::StatusOr<TokenKind> KindOfType(int64_t type) {
  switch (type) {
    case 1:
      return TokenKind::kNormal;
    case 2:  // unknown
    case 3:  // control
      return TokenKind::kSpecial;
    case 4:  // user-defined
      return TokenKind::kAdded;
    case 5:
      return TokenKind::kUnused;
    default:  // 6, a byte, belongs to vocabularies with byte fallback
      return absl::InvalidArgumentError(absl::StrCat("token type ", type));
  }
}

absl::Status ReadTokens(const GgufFile& file, TokenizerDefinition* definition) {
  LCKV_ASSIGN_OR_RETURN(GgufFile::Strings texts, Required(file.GetStrings(kTokens)));
  LCKV_ASSIGN_OR_RETURN(const GgufFile::Ints types, Required(file.GetInts(kTokenTypes)));
  if (types.size() != texts.size()) {
    return Malformed(file, kTokenTypes,
                     absl::StrCat(types.size(), " types for ", texts.size(), " tokens"));
  }
  if (texts.size() > static_cast<size_t>(TokenizerDefinition::kMaxTokens)) {
    return Malformed(file, kTokens, absl::StrCat(texts.size(), " tokens are too many"));
  }
  definition->tokens.reserve(texts.size());
  for (size_t i = 0; i < texts.size(); ++i) {
    const absl::StatusOr<TokenKind> kind = KindOfType(types[i]);
    if (!kind.ok()) {
      return Malformed(file, absl::StrCat(kTokenTypes, "[", i, "]"), kind.status().message());
    }
    std::string text = *kind == TokenKind::kUnused ? std::string() : std::move(texts[i]);
    definition->tokens.push_back({std::move(text), *kind});
  }
  return absl::OkStatus();
}

absl::Status ReadMerges(const GgufFile& file, TokenizerDefinition* definition) {
  LCKV_ASSIGN_OR_RETURN(const GgufFile::Strings merges, Required(file.GetStrings(kMerges)));
  definition->merges.reserve(merges.size());
  for (size_t i = 0; i < merges.size(); ++i) {
    absl::StatusOr<std::pair<std::string, std::string>> pair = ParseMerge(merges[i]);
    if (!pair.ok()) {
      return Malformed(file, absl::StrCat(kMerges, "[", i, "]"), pair.status().message());
    }
    definition->merges.push_back(*std::move(pair));
  }
  return absl::OkStatus();
}

absl::Status ReadSplit(const GgufFile& file, TokenizerDefinition* definition) {
  LCKV_ASSIGN_OR_RETURN(const std::string pre, Required(file.GetString(kPre)));
  if (pre == "gpt-2") {
    definition->split_patterns = {std::string(kGpt2Pattern)};
  } else if (pre == "smollm") {
    definition->split_patterns = {std::string(kSingleDigitPattern), std::string(kGpt2Pattern)};
  } else if (pre == "default") {
    definition->split_patterns = GgmlDefaultPatterns();
  } else {
    return absl::UnimplementedError(
        absl::StrCat(file.path(), ": ", kPre, ": \"", pre, "\" is not supported"));
  }
  return absl::OkStatus();
}

// Puts the token that `id_key` names in `ids` if `flag_key` is set.
absl::Status ReadAddedAround(const GgufFile& file, absl::string_view flag_key,
                             absl::string_view id_key, const TokenizerDefinition& definition,
                             std::vector<int32_t>* ids) {
  LCKV_ASSIGN_OR_RETURN(const bool add, BoolOrFalse(file, flag_key));
  if (!add) return absl::OkStatus();
  LCKV_ASSIGN_OR_RETURN(const int64_t id, Required(file.GetInt(id_key)));
  if (id < 0 || id >= static_cast<int64_t>(definition.tokens.size())) {
    return Malformed(file, id_key, absl::StrCat("token id ", id, " out of range"));
  }
  ids->push_back(static_cast<int32_t>(id));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<TokenizerDefinition> ReadGgufVocabulary(const GgufFile& file) {
  LCKV_ASSIGN_OR_RETURN(const std::string model, Required(file.GetString("tokenizer.ggml.model")));
  if (model != "gpt2") {
    return absl::UnimplementedError(
        absl::StrCat(file.path(), ": tokenizer.ggml.model: \"", model, "\" is not supported"));
  }
  TokenizerDefinition definition;
  LCKV_RETURN_IF_ERROR(ReadSplit(file, &definition));
  LCKV_RETURN_IF_ERROR(ReadTokens(file, &definition));
  LCKV_RETURN_IF_ERROR(ReadMerges(file, &definition));
  LCKV_RETURN_IF_ERROR(ReadAddedAround(file, "tokenizer.ggml.add_bos_token",
                                       "tokenizer.ggml.bos_token_id", definition,
                                       &definition.prefix_ids));
  LCKV_RETURN_IF_ERROR(ReadAddedAround(file, "tokenizer.ggml.add_eos_token",
                                       "tokenizer.ggml.eos_token_id", definition,
                                       &definition.suffix_ids));
  return definition;
}

}  // namespace lckv
