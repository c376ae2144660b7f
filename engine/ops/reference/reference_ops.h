#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "engine/ops/backend.h"

namespace lckv::reference {

// The ops of the reference backend: the formulas of backend.h written down as they stand, in
// double. Never optimised. One thread, host memory.

// Quantises to `format`, then keeps the values as float32.
absl::StatusOr<std::unique_ptr<LinearWeight>> PrepareLinear(const HostMatrix& matrix, DType format);

void Embed(const EmbedParams& params);
void RmsNorm(const RmsNormParams& params);
void Linear(const LinearParams& params);
void RopeAndStore(const RopeAndStoreParams& params);
void Attention(const AttentionParams& params);
void SwiGlu(const SwiGluParams& params);
void KvChange(const KvChangeParams& params);
void GatherRows(const GatherRowsParams& params);
void CopyRows(const CopyRowsParams& params);
void Sample(const SampleParams& params);
void Crc32c(const Crc32cParams& params);

// Value `index` of an array of kF32, kF16 or kBf16.
double LoadKv(const uint8_t* values, DType dtype, int64_t index);

}  // namespace lckv::reference
