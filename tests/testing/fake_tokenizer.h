#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/tokenizer/tokenizer.h"

namespace lckv::testing {

// Every byte is a token of its own (byte b is id b), and three special tokens follow.
class FakeTokenizer final : public Tokenizer {
 public:
  static constexpr int32_t kStart = 256;  // "<|im_start|>"
  static constexpr int32_t kEnd = 257;    // "<|im_end|>"
  static constexpr int32_t kBos = 258;    // "<s>"

  absl::StatusOr<std::vector<int32_t>> Encode(absl::string_view text,
                                              const EncodeOptions& options) const override {
    std::vector<int32_t> ids;
    if (options.add_special) ids.push_back(kBos);
    while (!text.empty()) {
      const int32_t special = options.parse_special ? SpecialAt(text) : -1;
      ids.push_back(special >= 0 ? special : static_cast<uint8_t>(text[0]));
      text.remove_prefix(special >= 0 ? Special(special).size() : 1);
    }
    return ids;
  }
  absl::StatusOr<std::string> Decode(absl::Span<const int32_t> ids,
                                     bool skip_special) const override {
    std::string text;
    for (const int32_t id : ids) {
      if (id < 256 || !skip_special) text += std::string(TokenBytes(id));
    }
    return text;
  }
  absl::string_view TokenBytes(int32_t id) const override {
    static const std::string* const kBytes = [] {
      auto* bytes = new std::string(256, '\0');
      for (int i = 0; i < 256; ++i) (*bytes)[static_cast<size_t>(i)] = static_cast<char>(i);
      return bytes;
    }();
    if (id < 0) return "";
    if (id < 256) return absl::string_view(*kBytes).substr(static_cast<size_t>(id), 1);
    return Special(id);
  }
  bool IsSpecial(int32_t id) const override { return id >= 256; }
  int32_t FindToken(absl::string_view content) const override {
    const int32_t special = SpecialAt(content);
    return special >= 0 && Special(special) == content ? special : -1;
  }
  int32_t vocab_size() const override { return 512; }
  int32_t bos_token() const override { return kBos; }
  std::vector<std::string> PreTokenize(absl::string_view /*text*/) const override { return {}; }

 private:
  static absl::string_view Special(int32_t id) {
    switch (id) {
      case kStart:
        return "<|im_start|>";
      case kEnd:
        return "<|im_end|>";
      case kBos:
        return "<s>";
      default:
        return "";
    }
  }
  static int32_t SpecialAt(absl::string_view text) {
    for (const int32_t id : {kStart, kEnd, kBos}) {
      if (text.substr(0, Special(id).size()) == Special(id)) return id;
    }
    return -1;
  }
};

}  // namespace lckv::testing
