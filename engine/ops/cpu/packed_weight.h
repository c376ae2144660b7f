#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "engine/ops/backend.h"
#include "engine/ops/cpu/thread_pool.h"

namespace lckv::cpu {

// A weight matrix in panels of kPanel output features, padded with zeros to whole panels, so that a
// vector holds one k of 16 outputs. [panel][k][kPanel] for kF32, kF16, kBf16; for quantised formats
// [panel][block of 32 k] of
//   kQ8_0: d [kPanel] f16, q [32][kPanel] int8                                              544
//   bytes kQ4_1: d [kPanel] f16, m [kPanel] f16, [16][kPanel] bytes with k = 2i low, 2i + 1 high
//   320 bytes
// The values are those of the source format, to the bit. Immutable.
class PackedWeight final : public LinearWeight {
 public:
  // As Backend::PrepareLinear.
  static absl::StatusOr<std::unique_ptr<PackedWeight>> Create(const HostMatrix& matrix,
                                                              DType format, ThreadPool& pool);

  int32_t in_features() const override { return in_features_; }
  int32_t out_features() const override { return out_features_; }
  DType dtype() const override { return dtype_; }
  size_t size_bytes() const override { return panels_.size_bytes(); }

  const uint8_t* panels() const { return panels_.bytes(); }
  int64_t panel_bytes() const { return panel_bytes_; }

  // out[in_features] = the weights of output feature `row`: the values that Linear multiplies with.
  void RestoreRow(int32_t row, float* out) const;

 private:
  PackedWeight(int32_t in_features, int32_t out_features, DType dtype, DeviceBuffer panels,
               int64_t panel_bytes);
  // `values` and `stored` are scratch for one row, as float32 and in this format.
  void Pack(const HostMatrix& matrix, int64_t panel, float* values, uint8_t* stored) const;

  const int32_t in_features_;
  const int32_t out_features_;
  const DType dtype_;
  const DeviceBuffer panels_;
  const int64_t panel_bytes_;
};

}  // namespace lckv::cpu
