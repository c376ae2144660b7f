#include "engine/tensor/dtype.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace lckv {

bool IsQuantized(DType dtype) { return UnitOf(dtype) > 1 || IsRowQuantized(dtype); }

bool IsRowQuantized(DType dtype) { return dtype == DType::kI8 || dtype == DType::kFp8; }

int UnitOf(DType dtype) { return dtype == DType::kQ8_0 || dtype == DType::kQ4_1 ? kQuantBlock : 1; }

int64_t BytesOf(DType dtype, int64_t count) {
  switch (dtype) {
    case DType::kF32:
      return count * 4;
    case DType::kF16:
    case DType::kBf16:
      return count * 2;
    case DType::kQ8_0:
      LCKV_CHECK(count % kQuantBlock == 0);
      return count / kQuantBlock * 34;
    case DType::kQ4_1:
      LCKV_CHECK(count % kQuantBlock == 0);
      return count / kQuantBlock * 20;
    case DType::kI8:
    case DType::kFp8:
      return kRowScaleBytes + count;
  }
  LCKV_CHECK(false);
  return 0;
}

absl::string_view Name(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return "f32";
    case DType::kF16:
      return "f16";
    case DType::kBf16:
      return "bf16";
    case DType::kQ8_0:
      return "q8_0";
    case DType::kQ4_1:
      return "q4_1";
    case DType::kI8:
      return "i8";
    case DType::kFp8:
      return "fp8";
  }
  return "?";
}

absl::StatusOr<DType> ParseDType(absl::string_view name) {
  for (DType dtype : {DType::kF32, DType::kF16, DType::kBf16, DType::kQ8_0, DType::kQ4_1,
                      DType::kI8, DType::kFp8}) {
    if (name == Name(dtype)) return dtype;
  }
  return absl::InvalidArgumentError(absl::StrCat("unknown number format \"", name, "\""));
}

float Bf16ToF32(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

uint16_t F32ToBf16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  if (std::isnan(value)) return static_cast<uint16_t>((bits >> 16) | 0x0040u);
  return static_cast<uint16_t>((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16);
}

float F16ToF32(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16;
  const uint32_t exponent = (bits >> 10) & 0x1Fu;
  const uint32_t mantissa = bits & 0x3FFu;
  if (exponent == 0x1F) return std::bit_cast<float>(sign | 0x7F800000u | (mantissa << 13));
  if (exponent == 0) {
    const float magnitude = std::ldexp(static_cast<float>(mantissa), -24);
    return sign != 0 ? -magnitude : magnitude;
  }
  return std::bit_cast<float>(sign | ((exponent + 112u) << 23) | (mantissa << 13));
}

uint16_t F32ToF16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const auto sign = static_cast<uint16_t>((bits >> 16) & 0x8000u);
  const uint32_t magnitude = bits & 0x7FFFFFFFu;
  if (magnitude > 0x7F800000u) return static_cast<uint16_t>(sign | 0x7E00u);   // NaN
  if (magnitude >= 0x47800000u) return static_cast<uint16_t>(sign | 0x7C00u);  // >= 65536, infinity
  if (magnitude < 0x38800000u) {
    // Below the smallest normal number 2^-14: a multiple of 2^-24, rounded to nearest even by the
    // conversion.
    const float scaled = std::ldexp(std::bit_cast<float>(magnitude), 24);
    return static_cast<uint16_t>(sign | static_cast<uint16_t>(std::lrint(scaled)));
  }
  const uint32_t rounded = magnitude + 0xFFFu + ((magnitude >> 13) & 1u);
  return static_cast<uint16_t>(sign | ((rounded - 0x38000000u) >> 13));
}

float E4m3ToF32(uint8_t bits) {
  const uint32_t exponent = (bits >> 3) & 0xFu;
  const uint32_t mantissa = bits & 7u;
  float magnitude = 0;
  if ((bits & 0x7Fu) == 0x7Fu) {
    magnitude = std::numeric_limits<float>::quiet_NaN();
  } else if (exponent == 0) {
    magnitude = std::ldexp(static_cast<float>(mantissa), -9);
  } else {
    magnitude = std::ldexp(static_cast<float>(8 + mantissa), static_cast<int>(exponent) - 10);
  }
  return (bits & 0x80u) != 0 ? -magnitude : magnitude;
}

uint8_t F32ToE4m3(float value) {
  const uint32_t sign = std::signbit(value) ? 0x80u : 0u;
  if (std::isnan(value)) return static_cast<uint8_t>(sign | 0x7Fu);
  const float magnitude = std::abs(value);
  if (magnitude >= 448) return static_cast<uint8_t>(sign | 0x7Eu);
  // The last place is worth 2^(exponent - 3), at least 2^-9; nearbyint rounds to even. A carry into
  // the next exponent is right as it is.
  const int exponent = magnitude == 0 ? -6 : std::max(std::ilogb(magnitude), -6);
  const auto units = static_cast<uint32_t>(std::nearbyint(std::ldexp(magnitude, 3 - exponent)));
  return static_cast<uint8_t>(sign | (static_cast<uint32_t>(exponent + 6) * 8 + units));
}

}  // namespace lckv
