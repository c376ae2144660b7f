#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/tensor/dtype_enum.h"

namespace lckv {

// A scale for several values: a block or row format.
bool IsQuantized(DType dtype);
bool IsRowQuantized(DType dtype);
// Rows hold a multiple of this many values: kQuantBlock for block formats, else 1.
int UnitOf(DType dtype);
// Bytes of a row of `count` values. REQUIRES: a multiple of UnitOf(dtype).
int64_t BytesOf(DType dtype, int64_t count);
// "f32" "f16" "bf16" "q8_0" "q4_1" "i8" "fp8"
absl::string_view Name(DType dtype);
// The inverse of Name; INVALID_ARGUMENT for anything else.
absl::StatusOr<DType> ParseDType(absl::string_view name);

// Scalar conversions, round to nearest even. NaN stays NaN.
float Bf16ToF32(uint16_t bits);
uint16_t F32ToBf16(float value);
float F16ToF32(uint16_t bits);
uint16_t F32ToF16(float value);
// FP8 E4M3: no infinities; beyond 448 it saturates.
float E4m3ToF32(uint8_t bits);
uint8_t F32ToE4m3(float value);

}  // namespace lckv
