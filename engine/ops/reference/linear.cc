#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "engine/ops/host_memory.h"
#include "engine/ops/reference/reference_ops.h"
#include "engine/ops/weight_rows.h"

namespace lckv::reference {
namespace {

class Weight final : public LinearWeight {
 public:
  Weight(int32_t in_features, int32_t out_features, DType dtype, DeviceBuffer values)
      : in_features_(in_features),
        out_features_(out_features),
        dtype_(dtype),
        values_(std::move(values)) {}
  int32_t in_features() const override { return in_features_; }
  int32_t out_features() const override { return out_features_; }
  DType dtype() const override { return dtype_; }
  size_t size_bytes() const override { return values_.size_bytes(); }
  const float* row(int64_t index) const { return values_.floats() + index * in_features_; }

 private:
  const int32_t in_features_;
  const int32_t out_features_;
  const DType dtype_;
  const DeviceBuffer values_;  // [out_features][in_features]
};

}  // namespace

absl::StatusOr<std::unique_ptr<LinearWeight>> PrepareLinear(const HostMatrix& matrix,
                                                            DType format) {
  LCKV_RETURN_IF_ERROR(CheckWeight(matrix, format));
  const auto cols = static_cast<size_t>(matrix.cols);
  LCKV_ASSIGN_OR_RETURN(DeviceBuffer values, AllocateHostMemory(static_cast<size_t>(matrix.rows) *
                                                                cols * sizeof(float)));
  std::vector<float> scratch(cols);
  std::vector<uint8_t> stored(static_cast<size_t>(BytesOf(format, matrix.cols)));
  const HostMatrix one_row = {stored.data(), format, 1, matrix.cols};
  for (int64_t row = 0; row < matrix.rows; ++row) {
    ConvertRow(matrix, row, format, scratch.data(), stored.data());
    DequantizeRow(one_row, 0, values.floats() + row * matrix.cols);
  }
  return std::make_unique<Weight>(static_cast<int32_t>(matrix.cols),
                                  static_cast<int32_t>(matrix.rows), format, std::move(values));
}

void Embed(const EmbedParams& params) {
  const auto& table = static_cast<const Weight&>(*params.table);
  const int32_t size = table.in_features();
  for (int64_t r = 0; r < params.rows; ++r) {
    const float* row = table.row(params.tokens[r]);
    for (int32_t i = 0; i < size; ++i) params.out[r * size + i] = row[i];
  }
}

void Linear(const LinearParams& params) {
  const auto& weight = static_cast<const Weight&>(*params.weight);
  for (int64_t r = 0; r < params.rows; ++r) {
    const float* x = params.x.floats() + r * weight.in_features();
    float* out = params.out + r * weight.out_features();
    for (int32_t o = 0; o < weight.out_features(); ++o) {
      const float* w = weight.row(o);
      double sum = 0;
      for (int32_t i = 0; i < weight.in_features(); ++i) {
        sum += static_cast<double>(w[i]) * static_cast<double>(x[i]);
      }
      if (params.bias != nullptr) sum += static_cast<double>(params.bias[o]);
      if (params.accumulate) sum += static_cast<double>(out[o]);
      out[o] = static_cast<float>(sum);
    }
  }
}

}  // namespace lckv::reference
