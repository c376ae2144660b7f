#include <cmath>

#include "base/crc32c.h"
#include "engine/ops/reference/reference_ops.h"

namespace lckv::reference {

void RmsNorm(const RmsNormParams& params) {
  for (int64_t r = 0; r < params.rows; ++r) {
    const float* x = params.x + r * params.size;
    float* out = params.out.floats() + r * params.size;
    double sum = 0;
    for (int32_t i = 0; i < params.size; ++i) {
      sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
    }
    const double scale = 1.0 / std::sqrt(sum / params.size + static_cast<double>(params.eps));
    for (int32_t i = 0; i < params.size; ++i) {
      out[i] = static_cast<float>(static_cast<double>(x[i]) * scale *
                                  static_cast<double>(params.weight[i]));
    }
  }
}

void SwiGlu(const SwiGluParams& params) {
  const int64_t count = static_cast<int64_t>(params.rows) * params.size;
  for (int64_t i = 0; i < count; ++i) {
    const double gate = static_cast<double>(params.gate[i]);
    const double silu = gate / (1.0 + std::exp(-gate));
    params.out.floats()[i] = static_cast<float>(silu * static_cast<double>(params.up[i]));
  }
}

void GatherRows(const GatherRowsParams& params) {
  for (int64_t r = 0; r < params.rows; ++r) {
    const float* x = params.x + static_cast<int64_t>(params.indices[r]) * params.size;
    for (int32_t i = 0; i < params.size; ++i) params.out[r * params.size + i] = x[i];
  }
}

void CopyRows(const CopyRowsParams& params) {
  for (int64_t r = 0; r < params.rows; ++r) {
    for (int32_t i = 0; i < params.size; ++i) params.to[r][i] = params.from[r][i];
  }
}

void Crc32c(const Crc32cParams& params) {
  const auto size = static_cast<size_t>(params.page_bytes);
  for (int64_t r = 0; r < params.rows; ++r) {
    params.out[r] = internal::ExtendCrc32cPortable(0, params.pages[r], size);
  }
}

}  // namespace lckv::reference
