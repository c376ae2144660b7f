#include "engine/tokenizer/utf8.h"

#include <cstddef>
#include <cstdint>

#include "base/check.h"

namespace lckv {
namespace {

// What a lead byte asks for: how many bytes follow it, and the range of the first of them. That
// range is what excludes overlong forms, surrogates and values above U+10FFFF; all later bytes
// are 80..BF.
struct Lead {
  int continuations;  // -1: no lead byte
  uint8_t low = 0x80;
  uint8_t high = 0xBF;
};

Lead LeadOf(uint8_t byte) {
  if (byte < 0x80) return {0};
  if (byte < 0xC2) return {-1};
  if (byte < 0xE0) return {1};
  if (byte == 0xE0) return {2, 0xA0, 0xBF};
  if (byte == 0xED) return {2, 0x80, 0x9F};
  if (byte < 0xF0) return {2};
  if (byte == 0xF0) return {3, 0x90, 0xBF};
  if (byte < 0xF4) return {3};
  if (byte == 0xF4) return {3, 0x80, 0x8F};
  return {-1};
}

}  // namespace

Utf8Unit NextUtf8Unit(absl::string_view bytes) {
  LCKV_CHECK(!bytes.empty());
  Lead lead = LeadOf(static_cast<uint8_t>(bytes[0]));
  if (lead.continuations < 0) return {Utf8Kind::kInvalid, 1};
  for (int i = 1; i <= lead.continuations; ++i) {
    if (static_cast<size_t>(i) == bytes.size()) return {Utf8Kind::kIncomplete, i};
    const uint8_t byte = static_cast<uint8_t>(bytes[i]);
    if (byte < lead.low || byte > lead.high) return {Utf8Kind::kInvalid, i};
    lead.low = 0x80;
    lead.high = 0xBF;
  }
  return {Utf8Kind::kValid, lead.continuations + 1};
}

std::string TakeUtf8(absl::string_view bytes, absl::string_view* rest) {
  std::string text;
  text.reserve(bytes.size());
  size_t position = 0;
  size_t copied = 0;  // bytes before it are in `text`
  *rest = absl::string_view();
  while (position < bytes.size()) {
    const Utf8Unit unit = NextUtf8Unit(bytes.substr(position));
    if (unit.kind != Utf8Kind::kValid) {
      text.append(bytes.data() + copied, position - copied);
      copied = position + unit.length_bytes;
      if (unit.kind == Utf8Kind::kIncomplete) {
        *rest = bytes.substr(position);
        return text;
      }
      text.append(kReplacementCharacter.data(), kReplacementCharacter.size());
    }
    position += unit.length_bytes;
  }
  text.append(bytes.data() + copied, bytes.size() - copied);
  return text;
}

std::string ReplaceInvalidUtf8(absl::string_view bytes) {
  absl::string_view rest;
  std::string text = TakeUtf8(bytes, &rest);
  if (!rest.empty()) text.append(kReplacementCharacter.data(), kReplacementCharacter.size());
  return text;
}

}  // namespace lckv
