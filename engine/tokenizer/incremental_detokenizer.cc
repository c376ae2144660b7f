#include <string>

#include "engine/tokenizer/tokenizer.h"
#include "engine/tokenizer/utf8.h"

namespace lckv {

IncrementalDetokenizer::IncrementalDetokenizer(const Tokenizer* tokenizer, bool skip_special)
    : tokenizer_(tokenizer), skip_special_(skip_special) {}

std::string IncrementalDetokenizer::Push(int32_t id) {
  if (skip_special_ && tokenizer_->IsSpecial(id)) return std::string();
  const absl::string_view token = tokenizer_->TokenBytes(id);
  pending_.append(token.data(), token.size());
  absl::string_view rest;
  std::string text = TakeUtf8(pending_, &rest);
  pending_.erase(0, pending_.size() - rest.size());
  return text;
}

std::string IncrementalDetokenizer::Flush() {
  std::string text = ReplaceInvalidUtf8(pending_);
  pending_.clear();
  return text;
}

}  // namespace lckv
