#pragma once

// The names of the number formats, for code that can include nothing else (CUDA kernels); what can
// be done with them is in dtype.h.

#include <cstdint>

namespace lckv {

// Number formats of stored weights and of KV. The numeric values appear in fingerprints: never
// renumber.
//
// Block formats are blocks of 32 consecutive values of one row (one output feature), as in GGUF:
//   kQ8_0: f16 scale d, 32 x int8 q                          34 bytes; value = d * q
//   kQ4_1: f16 scale d, f16 minimum m, 16 bytes of nibbles   20 bytes; value = d * q + m;
//          byte i holds value i in its low and value i + 16 in its high nibble
// Row formats have one scale for a whole row, as the tensor cores of GPUs take them:
//   kI8:   f32 scale d, int8 q for each value; value = d * q, q in [-127, 127]
//   kFp8:  f32 scale d, FP8 E4M3 q for each value; value = d * q, |q| <= 448
enum class DType : uint8_t {
  kF32 = 0,
  kF16 = 1,
  kBf16 = 2,
  kQ8_0 = 3,
  kQ4_1 = 4,
  kI8 = 5,
  kFp8 = 6,
};

inline constexpr int kQuantBlock = 32;
// Bytes of the scale in front of a row of kI8 or kFp8.
inline constexpr int kRowScaleBytes = 4;

}  // namespace lckv
