#include "base/crc32c.h"

#include <array>
#include <cstring>

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

namespace lckv {
namespace {

constexpr uint32_t kPolynomialReflected = 0x82F63B78u;

constexpr std::array<uint32_t, 256> MakeTable() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) {
      crc = (crc & 1) != 0 ? (crc >> 1) ^ kPolynomialReflected : crc >> 1;
    }
    table[i] = crc;
  }
  return table;
}

constexpr std::array<uint32_t, 256> kTable = MakeTable();

#if defined(__x86_64__)

// CRCs of three neighbouring lanes are computed at once (the instruction has a latency of three
// cycles) and joined by shifting the first over the length of the others: multiplication by
// x^(8*length) modulo the polynomial.
constexpr size_t kLaneBytes = 1024;

constexpr uint32_t ShiftByZeros(uint32_t crc, size_t bytes) {
  for (size_t i = 0; i < bytes; ++i) crc = kTable[crc & 0xff] ^ (crc >> 8);
  return crc;
}

// The shift is linear, so four tables of 256 entries hold it for one fixed length.
using ShiftTable = std::array<std::array<uint32_t, 256>, 4>;

ShiftTable MakeShiftTable(size_t bytes) {
  ShiftTable table{};
  for (int byte = 0; byte < 4; ++byte) {
    for (uint32_t value = 0; value < 256; ++value) {
      table[byte][value] = ShiftByZeros(value << (8 * byte), bytes);
    }
  }
  return table;
}

uint32_t Shift(const ShiftTable& table, uint32_t crc) {
  return table[0][crc & 0xff] ^ table[1][(crc >> 8) & 0xff] ^ table[2][(crc >> 16) & 0xff] ^
         table[3][crc >> 24];
}

uint64_t Load64(const uint8_t* p) {
  uint64_t value;
  std::memcpy(&value, p, sizeof(value));
  return value;
}

__attribute__((target("sse4.2"))) uint32_t ExtendSse42(uint32_t crc, const uint8_t* p,
                                                       size_t size) {
  static const ShiftTable one_lane = MakeShiftTable(kLaneBytes);
  static const ShiftTable two_lanes = MakeShiftTable(2 * kLaneBytes);
  uint64_t state = crc ^ 0xFFFFFFFFu;
  while (size >= 3 * kLaneBytes) {
    uint64_t a = state, b = 0, c = 0;
    for (size_t i = 0; i < kLaneBytes; i += 8) {
      a = _mm_crc32_u64(a, Load64(p + i));
      b = _mm_crc32_u64(b, Load64(p + kLaneBytes + i));
      c = _mm_crc32_u64(c, Load64(p + 2 * kLaneBytes + i));
    }
    state = Shift(two_lanes, static_cast<uint32_t>(a)) ^ Shift(one_lane, static_cast<uint32_t>(b)) ^
            static_cast<uint32_t>(c);
    p += 3 * kLaneBytes;
    size -= 3 * kLaneBytes;
  }
  for (; size >= 8; p += 8, size -= 8) state = _mm_crc32_u64(state, Load64(p));
  uint32_t tail = static_cast<uint32_t>(state);
  for (; size > 0; ++p, --size) tail = _mm_crc32_u8(tail, *p);
  return tail ^ 0xFFFFFFFFu;
}

#endif  // __x86_64__

}  // namespace

namespace internal {

uint32_t ExtendCrc32cPortable(uint32_t crc, const void* data, size_t size) {
  const auto* p = static_cast<const uint8_t*>(data);
  crc ^= 0xFFFFFFFFu;
  for (size_t i = 0; i < size; ++i) crc = kTable[(crc ^ p[i]) & 0xff] ^ (crc >> 8);
  return crc ^ 0xFFFFFFFFu;
}

}  // namespace internal

uint32_t ExtendCrc32c(uint32_t crc, const void* data, size_t size) {
#if defined(__x86_64__)
  static const bool has_sse42 = __builtin_cpu_supports("sse4.2") != 0;
  if (has_sse42) return ExtendSse42(crc, static_cast<const uint8_t*>(data), size);
#endif
  return internal::ExtendCrc32cPortable(crc, data, size);
}

uint32_t Crc32c(const void* data, size_t size) { return ExtendCrc32c(0, data, size); }

}  // namespace lckv
