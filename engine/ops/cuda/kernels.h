#pragma once

// The kernels' launchers: plain functions over the ops' parameters (gpu_api.h), each in the .cu
// file that holds its kernels. They queue on `stream` and return 0 or the launch's error. Arguments
// have been checked (cuda_backend.cc); rows > 0 (RopeAndStore: of one part at least). LaunchLinear
// is the general product: any weight, float32 or bf16 rows, float32 arithmetic.

#include "engine/ops/cuda/gpu_api.h"

namespace lckv::gpu {

using Stream = void*;  // cudaStream_t

// x bf16 [rows][size] -> out [rows][pitch] of `dtype` (kI8 or kFp8), zeros beyond size, and scales
// [rows]: x = out * scale.
struct QuantizeRowsArgs {
  const uint16_t* x;
  DType dtype;
  int32_t rows;
  int32_t size;
  int64_t pitch;
  uint8_t* out;
  float* scales;
};
// out (+)= sums * row_scales * column_scales + bias. Shapes: sums (int32 or float32), out
// [rows][size]; bias [size] or null.
struct ScaleSumsArgs {
  const void* sums;
  bool integers;
  const float* row_scales;
  const float* column_scales;
  const float* bias;
  int32_t rows;
  int32_t size;
  bool accumulate;
  float* out;
};
// out += bias. Shapes: out [rows][size], bias [size].
struct AddBiasArgs {
  const float* bias;
  int32_t rows;
  int32_t size;
  float* out;
};

int LaunchQuantizeRows(const QuantizeRowsArgs& args, Stream stream);
int LaunchScaleSums(const ScaleSumsArgs& args, Stream stream);
int LaunchAddBias(const AddBiasArgs& args, Stream stream);
// Device memory for an op's own use until the next op on the stream, and what it is on.
struct Workspace {
  void* data = nullptr;  // aligned to 16 bytes
  uint64_t bytes = 0;
  int32_t multiprocessors = 1;
};
inline constexpr uint64_t kWorkspaceBytes = uint64_t{64} << 20;

int LaunchEmbed(const EmbedArgs& args, Stream stream);
int LaunchRmsNorm(const RmsNormParams& args, Stream stream);
int LaunchLinear(const LinearArgs& args, Stream stream);
// REQUIRES: bf16 x, a weight in kQ4_1, kQ8_0 or kBf16.
int LaunchLinearMma(const LinearArgs& args, Stream stream);
int LaunchRopeAndStore(const RopeAndStoreParams& args, Stream stream);
int LaunchAttention(const AttentionParams& args, const Workspace& workspace, Stream stream);
int LaunchSwiGlu(const SwiGluParams& args, Stream stream);
int LaunchKvChange(const KvChangeParams& args, Stream stream);
int LaunchGatherRows(const GatherRowsParams& args, Stream stream);
int LaunchCopyRows(const CopyRowsParams& args, Stream stream);
int LaunchSample(const SampleParams& args, Stream stream);
int LaunchCrc32c(const Crc32cParams& args, Stream stream);

}  // namespace lckv::gpu
