#include "engine/tokenizer/tokenizer_json.h"

#include <algorithm>
#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/tokenizer/byte_level.h"
#include "engine/tokenizer/pre_tokenizer.h"

namespace lckv {
namespace {

using Json = nlohmann::json;
using TokenKind = TokenizerDefinition::TokenKind;

absl::Status Malformed(absl::string_view field, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(field, ": ", what));
}

absl::Status Unsupported(absl::string_view field, absl::string_view what) {
  return absl::UnimplementedError(absl::StrCat(field, ": ", what, " is not supported"));
}

// The member `key` of an object; null when it is absent or JSON null.
const Json* Member(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

// A part of the file that has a "type": its value. `part` may be any JSON value.
absl::StatusOr<std::string> TypeOf(const Json& part, absl::string_view field) {
  if (!part.is_object()) return Malformed(field, "not an object");
  const Json* const type = Member(part, "type");
  if (type == nullptr || !type->is_string()) return Malformed(field, "\"type\" is not a string");
  return type->get<std::string>();
}

absl::StatusOr<bool> BoolOr(const Json& object, const char* key, bool absent,
                            absl::string_view field) {
  const Json* const value = Member(object, key);
  if (value == nullptr) return absent;
  if (!value->is_boolean()) return Malformed(absl::StrCat(field, ".", key), "not a boolean");
  return value->get<bool>();
}

absl::StatusOr<int32_t> TokenId(const Json& value, absl::string_view field) {
  if (!value.is_number_integer()) return Malformed(field, "not an integer");
  // A number above 2^63 wraps to a negative one: out of range either way.
  const int64_t id = value.get<int64_t>();
  if (id < 0 || id >= TokenizerDefinition::kMaxTokens) {
    return Malformed(
        field, absl::StrCat("token id out of range [0, ", TokenizerDefinition::kMaxTokens, ")"));
  }
  return static_cast<int32_t>(id);
}

// A part that is one element or {"type": "Sequence", <list_key>: [elements]}, as a list of
// elements.
absl::StatusOr<std::vector<const Json*>> Elements(const Json& part, const char* list_key,
                                                  absl::string_view field) {
  LCKV_ASSIGN_OR_RETURN(const std::string type, TypeOf(part, field));
  if (type != "Sequence") return std::vector<const Json*>{&part};
  const Json* const list = Member(part, list_key);
  if (list == nullptr || !list->is_array()) {
    return Malformed(absl::StrCat(field, ".", list_key), "not a list");
  }
  std::vector<const Json*> elements;
  for (const Json& element : *list) elements.push_back(&element);
  return elements;
}

// The slot of token `id`, made when it does not exist yet. REQUIRES: id is in range.
TokenizerDefinition::Token& Slot(TokenizerDefinition* definition, int32_t id) {
  if (definition->tokens.size() <= static_cast<size_t>(id)) definition->tokens.resize(id + 1);
  return definition->tokens[id];
}

absl::Status ReadVocabulary(const Json& model, TokenizerDefinition* definition) {
  const Json* const vocabulary = Member(model, "vocab");
  if (vocabulary == nullptr || !vocabulary->is_object()) {
    return Malformed("model.vocab", "not an object");
  }
  for (const auto& item : vocabulary->items()) {
    const std::string field = absl::StrCat("model.vocab[", item.key(), "]");
    LCKV_ASSIGN_OR_RETURN(const int32_t id, TokenId(item.value(), field));
    TokenizerDefinition::Token& token = Slot(definition, id);
    if (token.kind != TokenKind::kUnused) {
      return Malformed(field, absl::StrCat("id ", id, " is also that of \"", token.text, "\""));
    }
    token = {item.key(), TokenKind::kNormal};
  }
  return absl::OkStatus();
}

absl::Status ReadMerges(const Json& model, TokenizerDefinition* definition) {
  const Json* const merges = Member(model, "merges");
  if (merges == nullptr || !merges->is_array()) return Malformed("model.merges", "not a list");
  definition->merges.reserve(merges->size());
  for (size_t i = 0; i < merges->size(); ++i) {
    const Json& merge = (*merges)[i];
    const std::string field = absl::StrCat("model.merges[", i, "]");
    if (merge.is_string()) {
      absl::StatusOr<std::pair<std::string, std::string>> pair =
          ParseMerge(merge.get_ref<const std::string&>());
      if (!pair.ok()) return Annotate(pair.status(), field);
      definition->merges.push_back(*std::move(pair));
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() &&
               merge[1].is_string()) {
      definition->merges.emplace_back(merge[0].get<std::string>(), merge[1].get<std::string>());
    } else {
      return Malformed(field, "neither a string nor a list of two strings");
    }
  }
  return absl::OkStatus();
}

bool EveryByteHasAToken(const Json& vocabulary) {
  for (int byte = 0; byte < 256; ++byte) {
    if (!vocabulary.contains(ByteLevelCharacter(static_cast<uint8_t>(byte)))) return false;
  }
  return true;
}

absl::Status ReadModel(const Json& root, TokenizerDefinition* definition) {
  const Json* const model = Member(root, "model");
  if (model == nullptr || !model->is_object()) return Malformed("model", "not an object");
  // Early files have no type; merges are what only BPE has.
  const Json* const type = Member(*model, "type");
  if (type != nullptr ? *type != "BPE" : !model->contains("merges")) {
    return Unsupported("model.type", "a model other than BPE");
  }
  LCKV_RETURN_IF_ERROR(ReadVocabulary(*model, definition));
  LCKV_RETURN_IF_ERROR(ReadMerges(*model, definition));
  LCKV_ASSIGN_OR_RETURN(definition->ignore_merges, BoolOr(*model, "ignore_merges", false, "model"));
  LCKV_ASSIGN_OR_RETURN(const bool byte_fallback, BoolOr(*model, "byte_fallback", false, "model"));
  if (byte_fallback) return Unsupported("model.byte_fallback", "true");
  if (Member(*model, "dropout") != nullptr) return Unsupported("model.dropout", "random encoding");
  for (const char* const key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const Json* const affix = Member(*model, key);
    if (affix != nullptr && *affix != "")
      return Unsupported(absl::StrCat("model.", key), "an affix");
  }
  // An unknown token stands for bytes without a token; where every byte has one it never appears.
  if (Member(*model, "unk_token") != nullptr && !EveryByteHasAToken((*model)["vocab"])) {
    return Unsupported("model.unk_token", "an unknown token that some byte needs");
  }
  return absl::OkStatus();
}

absl::Status ReadAddedToken(const Json& added, absl::string_view field,
                            TokenizerDefinition* definition) {
  if (!added.is_object()) return Malformed(field, "not an object");
  const Json* const content = Member(added, "content");
  if (content == nullptr || !content->is_string()) {
    return Malformed(absl::StrCat(field, ".content"), "not a string");
  }
  const Json* const id_value = Member(added, "id");
  if (id_value == nullptr) return Malformed(absl::StrCat(field, ".id"), "missing");
  LCKV_ASSIGN_OR_RETURN(const int32_t id, TokenId(*id_value, absl::StrCat(field, ".id")));
  for (const char* const key : {"lstrip", "rstrip", "single_word"}) {
    LCKV_ASSIGN_OR_RETURN(const bool set, BoolOr(added, key, false, field));
    if (set) return Unsupported(absl::StrCat(field, ".", key), "true");
  }
  LCKV_ASSIGN_OR_RETURN(const bool special, BoolOr(added, "special", false, field));

  TokenizerDefinition::Token& token = Slot(definition, id);
  const std::string& text = content->get_ref<const std::string&>();
  if (token.kind != TokenKind::kUnused && token.text != text) {
    return Malformed(absl::StrCat(field, ".id"),
                     absl::StrCat("id ", id, " is also that of \"", token.text, "\""));
  }
  token = {text, special ? TokenKind::kSpecial : TokenKind::kAdded};
  return absl::OkStatus();
}

absl::Status ReadAddedTokens(const Json& root, TokenizerDefinition* definition) {
  const Json* const added_tokens = Member(root, "added_tokens");
  if (added_tokens == nullptr) return absl::OkStatus();
  if (!added_tokens->is_array()) return Malformed("added_tokens", "not a list");
  for (size_t i = 0; i < added_tokens->size(); ++i) {
    LCKV_RETURN_IF_ERROR(
        ReadAddedToken((*added_tokens)[i], absl::StrCat("added_tokens[", i, "]"), definition));
  }
  return absl::OkStatus();
}

absl::Status ReadPreTokenizer(const Json& root, TokenizerDefinition* definition) {
  const std::string field = "pre_tokenizer";
  const Json* const part = Member(root, "pre_tokenizer");
  if (part == nullptr) return Unsupported(field, "a vocabulary that is not byte level");
  LCKV_ASSIGN_OR_RETURN(const std::vector<const Json*> steps,
                        Elements(*part, "pretokenizers", field));
  bool byte_level = false;
  for (const Json* const step : steps) {
    LCKV_ASSIGN_OR_RETURN(const std::string type, TypeOf(*step, field));
    if (byte_level) return Unsupported(field, absl::StrCat(type, " after ByteLevel"));
    if (type == "Digits") {
      LCKV_ASSIGN_OR_RETURN(const bool single, BoolOr(*step, "individual_digits", false, field));
      definition->split_patterns.emplace_back(single ? kSingleDigitPattern : kDigitRunPattern);
    } else if (type == "ByteLevel") {
      LCKV_ASSIGN_OR_RETURN(const bool add_space, BoolOr(*step, "add_prefix_space", true, field));
      if (add_space) return Unsupported(absl::StrCat(field, ".add_prefix_space"), "true");
      LCKV_ASSIGN_OR_RETURN(const bool split, BoolOr(*step, "use_regex", true, field));
      if (split) definition->split_patterns.emplace_back(kGpt2Pattern);
      byte_level = true;
    } else {
      return Unsupported(absl::StrCat(field, ".type"), type);
    }
  }
  if (!byte_level) return Unsupported(field, "a vocabulary that is not byte level");
  return absl::OkStatus();
}

// The ids of the special token that a template names, from the template's own table.
absl::Status AppendTemplateIds(const Json& part, const Json& special_token,
                               std::vector<int32_t>* ids) {
  const std::string field = "post_processor.special_tokens";
  const Json* const name = special_token.is_object() ? Member(special_token, "id") : nullptr;
  if (name == nullptr || !name->is_string()) {
    return Malformed("post_processor.single", "SpecialToken.id is not a string");
  }
  const Json* const table = Member(part, "special_tokens");
  if (table == nullptr || !table->is_object()) return Malformed(field, "not an object");
  const auto entry = table->find(name->get_ref<const std::string&>());
  if (entry == table->end() || !entry->is_object() || !entry->contains("ids") ||
      !(*entry)["ids"].is_array()) {
    return Malformed(field, absl::StrCat("no list \"ids\" for ", name->get<std::string>()));
  }
  for (const Json& value : (*entry)["ids"]) {
    LCKV_ASSIGN_OR_RETURN(const int32_t id, TokenId(value, field));
    ids->push_back(id);
  }
  return absl::OkStatus();
}

// TemplateProcessing.single: special tokens around one "Sequence", the text.
absl::Status ReadTemplate(const Json& part, TokenizerDefinition* definition) {
  const std::string field = "post_processor.single";
  const Json* const single = Member(part, "single");
  if (single == nullptr || !single->is_array()) return Malformed(field, "not a list");
  bool text_seen = false;
  for (const Json& element : *single) {
    if (!element.is_object()) return Malformed(field, "an element is not an object");
    if (const Json* const special = Member(element, "SpecialToken"); special != nullptr) {
      LCKV_RETURN_IF_ERROR(AppendTemplateIds(
          part, *special, text_seen ? &definition->suffix_ids : &definition->prefix_ids));
    } else if (Member(element, "Sequence") == nullptr) {
      return Malformed(field, "an element is neither a SpecialToken nor a Sequence");
    } else if (std::exchange(text_seen, true)) {
      return Unsupported(field, "a template with the text in it twice");
    }
  }
  if (!text_seen) return Unsupported(field, "a template without the text");
  return absl::OkStatus();
}

absl::Status ReadPostProcessor(const Json& root, TokenizerDefinition* definition) {
  const Json* const part = Member(root, "post_processor");
  if (part == nullptr) return absl::OkStatus();
  LCKV_ASSIGN_OR_RETURN(const std::vector<const Json*> steps,
                        Elements(*part, "processors", "post_processor"));
  bool has_template = false;
  for (const Json* const step : steps) {
    LCKV_ASSIGN_OR_RETURN(const std::string type, TypeOf(*step, "post_processor"));
    if (type == "ByteLevel") continue;  // about character offsets, which we do not keep
    if (type != "TemplateProcessing" || std::exchange(has_template, true)) {
      return Unsupported("post_processor.type", type);
    }
    LCKV_RETURN_IF_ERROR(ReadTemplate(*step, definition));
  }
  return absl::OkStatus();
}

absl::Status CheckOtherParts(const Json& root) {
  if (Member(root, "normalizer") != nullptr) return Unsupported("normalizer", "a normalizer");
  const Json* const decoder = Member(root, "decoder");
  if (decoder == nullptr) return Unsupported("decoder", "none");
  LCKV_ASSIGN_OR_RETURN(const std::string type, TypeOf(*decoder, "decoder"));
  if (type != "ByteLevel") return Unsupported("decoder.type", type);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<TokenizerDefinition> ReadTokenizerJson(absl::string_view text) {
  const Json root =
      Json::parse(text.begin(), text.end(), /*cb=*/nullptr, /*allow_exceptions=*/false);
  if (!root.is_object()) return absl::InvalidArgumentError("not a JSON object");
  TokenizerDefinition definition;
  LCKV_RETURN_IF_ERROR(ReadModel(root, &definition));
  LCKV_RETURN_IF_ERROR(ReadAddedTokens(root, &definition));
  LCKV_RETURN_IF_ERROR(ReadPreTokenizer(root, &definition));
  LCKV_RETURN_IF_ERROR(ReadPostProcessor(root, &definition));
  LCKV_RETURN_IF_ERROR(CheckOtherParts(root));
  return definition;
}

}  // namespace lckv
