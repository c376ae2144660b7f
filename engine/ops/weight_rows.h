#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "engine/tensor/dtype.h"
#include "engine/tensor/host_matrix.h"

namespace lckv {

// INVALID_ARGUMENT unless `matrix` can be stored as `format`: shape within int32, cols a multiple
// of kQuantBlock for quantised formats.
absl::Status CheckWeight(const HostMatrix& matrix, DType format);

// Writes row `row` of `matrix` in `format` (BytesOf(format, cols) bytes) to `out`: as it is stored
// when the formats agree, else by way of float32. `scratch` holds cols floats.
void ConvertRow(const HostMatrix& matrix, int64_t row, DType format, float* scratch, uint8_t* out);

}  // namespace lckv
