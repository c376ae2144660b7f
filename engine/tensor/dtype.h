#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace lckv {

// Number formats of stored weights and of KV. The numeric values appear in fingerprints: never
// renumber.
//
// Quantised formats are blocks of 32 consecutive values of one row (one output feature), as in
// GGUF:
//   kQ8_0: f16 scale d, 32 x int8 q                          34 bytes; value = d * q
//   kQ4_1: f16 scale d, f16 minimum m, 16 bytes of nibbles   20 bytes; value = d * q + m;
//          byte i holds value i in its low and value i + 16 in its high nibble
enum class DType : uint8_t {
  kF32 = 0,
  kF16 = 1,
  kBf16 = 2,
  kQ8_0 = 3,
  kQ4_1 = 4,
};

inline constexpr int kQuantBlock = 32;

bool IsQuantized(DType dtype);
// Bytes of `count` consecutive values. REQUIRES: a multiple of kQuantBlock for quantised formats.
int64_t BytesOf(DType dtype, int64_t count);
// "f32" "f16" "bf16" "q8_0" "q4_1"
absl::string_view Name(DType dtype);
// The inverse of Name; INVALID_ARGUMENT for anything else.
absl::StatusOr<DType> ParseDType(absl::string_view name);

// Scalar conversions, round to nearest even. NaN stays NaN.
float Bf16ToF32(uint16_t bits);
uint16_t F32ToBf16(float value);
float F16ToF32(uint16_t bits);
uint16_t F32ToF16(float value);

}  // namespace lckv
