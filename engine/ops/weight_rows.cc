#include "engine/ops/weight_rows.h"

#include <cstring>
#include <limits>

#include "absl/strings/str_cat.h"

namespace lckv {

absl::Status CheckWeight(const HostMatrix& matrix, DType format) {
  constexpr int64_t kMax = std::numeric_limits<int32_t>::max();
  if (matrix.data == nullptr || matrix.rows < 1 || matrix.cols < 1 || matrix.rows > kMax ||
      matrix.cols > kMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("weight of shape [", matrix.rows, "][", matrix.cols, "]"));
  }
  // Sizes in bytes are computed from here on: far from overflow.
  constexpr int64_t kMaxElements = int64_t{1} << 40;
  if (matrix.rows > kMaxElements / matrix.cols) {
    return absl::ResourceExhaustedError(
        absl::StrCat("weight of shape [", matrix.rows, "][", matrix.cols, "]"));
  }
  for (DType dtype : {matrix.dtype, format}) {
    if (matrix.cols % UnitOf(dtype) != 0) {
      return absl::InvalidArgumentError(
          absl::StrCat(matrix.cols, " input features are no multiple of ", UnitOf(dtype),
                       ", which ", Name(dtype), " needs"));
    }
  }
  return absl::OkStatus();
}

void ConvertRow(const HostMatrix& matrix, int64_t row, DType format, float* scratch, uint8_t* out) {
  if (matrix.dtype == format) {
    const int64_t row_bytes = BytesOf(format, matrix.cols);
    std::memcpy(out, static_cast<const uint8_t*>(matrix.data) + row * row_bytes,
                static_cast<size_t>(row_bytes));
    return;
  }
  DequantizeRow(matrix, row, scratch);
  QuantizeRow(scratch, matrix.cols, format, out);
}

}  // namespace lckv
