#include "engine/tokenizer/byte_level.h"

#include <array>
#include <cstddef>

#include "engine/tokenizer/utf8.h"

namespace lckv {
namespace {

constexpr int kFirstStandIn = 0x100;
constexpr int kCodePoints = kFirstStandIn + 68;

constexpr bool StandsForItself(int byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
}

constexpr std::array<int, 256> CodePointOfByte() {
  std::array<int, 256> code_points{};
  int next = kFirstStandIn;
  for (int byte = 0; byte < 256; ++byte) code_points[byte] = StandsForItself(byte) ? byte : next++;
  return code_points;
}
constexpr std::array<int, 256> kCodePointOfByte = CodePointOfByte();

constexpr std::array<int, kCodePoints> ByteOfCodePoint() {
  std::array<int, kCodePoints> bytes{};
  for (int& byte : bytes) byte = -1;
  for (int byte = 0; byte < 256; ++byte) bytes[kCodePointOfByte[byte]] = byte;
  return bytes;
}
constexpr std::array<int, kCodePoints> kByteOfCodePoint = ByteOfCodePoint();

}  // namespace

std::string ByteLevelCharacter(uint8_t byte) {
  const int code_point = kCodePointOfByte[byte];
  if (code_point < 0x80) return std::string(1, static_cast<char>(code_point));
  return {static_cast<char>(0xC0 | (code_point >> 6)),
          static_cast<char>(0x80 | (code_point & 0x3F))};
}

std::optional<std::string> BytesFromByteLevel(absl::string_view text) {
  std::string bytes;
  bytes.reserve(text.size());
  while (!text.empty()) {
    const Utf8Unit unit = NextUtf8Unit(text);
    if (unit.kind != Utf8Kind::kValid || unit.length_bytes > 2) return std::nullopt;
    const int code_point =
        unit.length_bytes == 1 ? text[0] : ((text[0] & 0x1F) << 6) | (text[1] & 0x3F);
    if (code_point >= kCodePoints || kByteOfCodePoint[code_point] < 0) return std::nullopt;
    bytes.push_back(static_cast<char>(kByteOfCodePoint[code_point]));
    text.remove_prefix(unit.length_bytes);
  }
  return bytes;
}

}  // namespace lckv
