#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/tensor/dtype_enum.h"

namespace lckv {

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
