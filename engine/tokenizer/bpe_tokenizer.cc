#include "engine/tokenizer/bpe_tokenizer.h"

#include <array>
#include <cstddef>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/tokenizer/byte_level.h"
#include "engine/tokenizer/utf8.h"

namespace lckv {
namespace {

using TokenKind = TokenizerDefinition::TokenKind;

constexpr size_t kMaxTextBytes = size_t{64} << 20;

// Token ids by text; views into the definition.
using IdByText = absl::flat_hash_map<absl::string_view, int32_t>;

absl::Status CheckToken(const TokenizerDefinition::Token& token) {
  const size_t max_bytes = token.kind == TokenKind::kNormal
                               ? size_t{TokenizerDefinition::kMaxTokenTextBytes}
                               : AddedTokenMatcher::kMaxContentBytes;
  if (token.text.empty()) return absl::InvalidArgumentError("empty text");
  if (token.text.size() > max_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("a text of ", token.text.size(), " bytes, more than ", max_bytes));
  }
  return absl::OkStatus();
}

absl::StatusOr<IdByText> IndexTexts(const TokenizerDefinition& definition) {
  if (definition.tokens.empty()) return absl::InvalidArgumentError("no tokens");
  if (definition.tokens.size() > size_t{TokenizerDefinition::kMaxTokens}) {
    return absl::InvalidArgumentError(
        absl::StrCat(definition.tokens.size(), " tokens are too many"));
  }
  IdByText ids;
  ids.reserve(definition.tokens.size());
  for (size_t i = 0; i < definition.tokens.size(); ++i) {
    const TokenizerDefinition::Token& token = definition.tokens[i];
    if (token.kind == TokenKind::kUnused) continue;
    LCKV_RETURN_IF_ERROR(Annotate(CheckToken(token), absl::StrCat("token ", i)));
    const auto [entry, inserted] = ids.emplace(token.text, static_cast<int32_t>(i));
    if (!inserted) {
      return absl::InvalidArgumentError(
          absl::StrCat("token ", i, ": \"", token.text, "\" is also token ", entry->second));
    }
  }
  return ids;
}

absl::StatusOr<std::vector<BpeModel::Merge>> ResolveMerges(const TokenizerDefinition& definition,
                                                           const IdByText& ids) {
  if (definition.merges.size() > size_t{TokenizerDefinition::kMaxMerges}) {
    return absl::InvalidArgumentError(
        absl::StrCat(definition.merges.size(), " merges are too many"));
  }
  std::vector<BpeModel::Merge> merges;
  merges.reserve(definition.merges.size());
  for (size_t i = 0; i < definition.merges.size(); ++i) {
    const auto& [left, right] = definition.merges[i];
    const std::string joined = absl::StrCat(left, right);
    int32_t resolved[3];
    const absl::string_view texts[3] = {left, right, joined};
    for (int part = 0; part < 3; ++part) {
      const auto found = ids.find(texts[part]);
      if (found == ids.end()) {
        return absl::InvalidArgumentError(
            absl::StrCat("merges[", i, "]: \"", texts[part], "\" is not a token"));
      }
      resolved[part] = found->second;
    }
    // Plain text never becomes a special token, even where a vocabulary was trained to join one.
    if (definition.tokens[resolved[2]].kind == TokenKind::kSpecial) continue;
    merges.push_back({resolved[0], resolved[1], resolved[2]});
  }
  return merges;
}

std::array<int32_t, 256> ByteTokens(const IdByText& ids) {
  std::array<int32_t, 256> tokens;
  for (int byte = 0; byte < 256; ++byte) {
    const auto found = ids.find(ByteLevelCharacter(static_cast<uint8_t>(byte)));
    tokens[byte] = found == ids.end() ? -1 : found->second;
  }
  return tokens;
}

absl::Status CheckIds(const std::vector<int32_t>& ids, size_t vocab_size) {
  for (const int32_t id : ids) {
    if (id < 0 || static_cast<size_t>(id) >= vocab_size) {
      return absl::InvalidArgumentError(
          absl::StrCat("added around a text: token id ", id, " out of range"));
    }
  }
  return absl::OkStatus();
}

// What a token decodes to. A normal token with a character outside the byte-level alphabet stands
// for its own text, as in the published decoders.
std::string BytesOf(const TokenizerDefinition::Token& token) {
  if (token.kind == TokenKind::kNormal) {
    if (std::optional<std::string> bytes = BytesFromByteLevel(token.text)) return *std::move(bytes);
  }
  return token.text;
}

}  // namespace

absl::StatusOr<std::unique_ptr<BpeTokenizer>> BpeTokenizer::Create(TokenizerDefinition definition) {
  LCKV_ASSIGN_OR_RETURN(const IdByText ids, IndexTexts(definition));
  LCKV_ASSIGN_OR_RETURN(const std::vector<BpeModel::Merge> merges, ResolveMerges(definition, ids));
  LCKV_RETURN_IF_ERROR(CheckIds(definition.prefix_ids, definition.tokens.size()));
  LCKV_RETURN_IF_ERROR(CheckIds(definition.suffix_ids, definition.tokens.size()));
  LCKV_ASSIGN_OR_RETURN(BpeModel model, BpeModel::Create(ByteTokens(ids), merges));
  LCKV_ASSIGN_OR_RETURN(PreTokenizer pre_tokenizer,
                        PreTokenizer::Create(definition.split_patterns));
  return std::unique_ptr<BpeTokenizer>(
      new BpeTokenizer(std::move(pre_tokenizer), std::move(model), std::move(definition)));
}

BpeTokenizer::BpeTokenizer(PreTokenizer pre_tokenizer, BpeModel model,
                           TokenizerDefinition definition)
    : pre_tokenizer_(std::move(pre_tokenizer)),
      model_(std::move(model)),
      ignore_merges_(definition.ignore_merges),
      prefix_ids_(std::move(definition.prefix_ids)),
      suffix_ids_(std::move(definition.suffix_ids)) {
  tokens_.reserve(definition.tokens.size());
  id_by_bytes_.reserve(definition.tokens.size());
  for (const TokenizerDefinition::Token& token : definition.tokens) {
    const int32_t id = static_cast<int32_t>(tokens_.size());
    tokens_.push_back({BytesOf(token), token.kind});
    if (token.kind == TokenKind::kUnused) continue;
    if (token.kind == TokenKind::kNormal) {
      id_by_bytes_.emplace(tokens_.back().bytes, id);
    } else {
      id_by_bytes_[tokens_.back().bytes] = id;
      added_tokens_.Add(token.text, id);
    }
  }
}

absl::StatusOr<std::vector<int32_t>> BpeTokenizer::Encode(absl::string_view text,
                                                          const EncodeOptions& options) const {
  if (text.size() > kMaxTextBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("text of ", text.size(), " bytes, more than ", kMaxTextBytes));
  }
  const std::string valid = ReplaceInvalidUtf8(text);
  const absl::string_view whole = valid;
  BpeModel::Scratch scratch;
  std::vector<int32_t> ids;
  if (options.add_special) ids = prefix_ids_;
  size_t plain_begin = 0;
  size_t search_from = 0;
  while (const auto match = added_tokens_.Find(whole, search_from)) {
    search_from = match->begin + match->length_bytes;
    if (IsSpecial(match->id) && !options.parse_special) continue;
    LCKV_RETURN_IF_ERROR(
        EncodePlain(whole.substr(plain_begin, match->begin - plain_begin), &scratch, &ids));
    ids.push_back(match->id);
    plain_begin = search_from;
  }
  LCKV_RETURN_IF_ERROR(EncodePlain(whole.substr(plain_begin), &scratch, &ids));
  if (options.add_special) ids.insert(ids.end(), suffix_ids_.begin(), suffix_ids_.end());
  return ids;
}

absl::Status BpeTokenizer::EncodePlain(absl::string_view text, BpeModel::Scratch* scratch,
                                       std::vector<int32_t>* ids) const {
  return pre_tokenizer_.Split(
      text, [&](absl::string_view pretoken) { EncodePretoken(pretoken, scratch, ids); });
}

void BpeTokenizer::EncodePretoken(absl::string_view pretoken, BpeModel::Scratch* scratch,
                                  std::vector<int32_t>* ids) const {
  if (ignore_merges_) {
    const int32_t id = FindToken(pretoken);
    // Only normal tokens: plain text never becomes a special token.
    if (id >= 0 && tokens_[id].kind == TokenKind::kNormal) {
      ids->push_back(id);
      return;
    }
  }
  model_.Encode(pretoken, scratch, ids);
}

absl::StatusOr<std::string> BpeTokenizer::Decode(absl::Span<const int32_t> ids,
                                                 bool skip_special) const {
  std::string bytes;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= vocab_size()) {
      return absl::OutOfRangeError(absl::StrCat("ids[", i, "] = ", ids[i], " is not a token id (",
                                                vocab_size(), " tokens)"));
    }
    if (!skip_special || !IsSpecial(ids[i])) bytes += tokens_[ids[i]].bytes;
  }
  return ReplaceInvalidUtf8(bytes);
}

absl::string_view BpeTokenizer::TokenBytes(int32_t id) const {
  return id < 0 || id >= vocab_size() ? absl::string_view() : tokens_[id].bytes;
}

bool BpeTokenizer::IsSpecial(int32_t id) const {
  return id >= 0 && id < vocab_size() && tokens_[id].kind == TokenKind::kSpecial;
}

int32_t BpeTokenizer::FindToken(absl::string_view content) const {
  const auto found = id_by_bytes_.find(content);
  return found == id_by_bytes_.end() ? -1 : found->second;
}

std::vector<std::string> BpeTokenizer::PreTokenize(absl::string_view text) const {
  std::vector<std::string> pieces;
  const absl::Status status = pre_tokenizer_.Split(
      ReplaceInvalidUtf8(text), [&](absl::string_view piece) { pieces.emplace_back(piece); });
  if (!status.ok()) pieces.clear();
  return pieces;
}

}  // namespace lckv
