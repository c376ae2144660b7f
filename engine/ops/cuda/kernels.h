#pragma once

// The kernels' launchers: plain functions over the ops' parameters (gpu_api.h), each in the .cu
// file that holds its kernels. They queue on `stream` and return 0 or the launch's error. Arguments
// have been checked (cuda_backend.cc); rows > 0.

#include "engine/ops/cuda/gpu_api.h"

namespace lckv::gpu {

using Stream = void*;  // cudaStream_t

int LaunchEmbed(const EmbedArgs& args, Stream stream);
int LaunchRmsNorm(const RmsNormParams& args, Stream stream);
int LaunchLinear(const LinearArgs& args, Stream stream);
int LaunchRope(const RopeParams& args, Stream stream);
int LaunchStoreKv(const StoreKvParams& args, Stream stream);
int LaunchAttention(const AttentionParams& args, Stream stream);
int LaunchSwiGlu(const SwiGluParams& args, Stream stream);
int LaunchKvChange(const KvChangeParams& args, Stream stream);
int LaunchGatherRows(const GatherRowsParams& args, Stream stream);

}  // namespace lckv::gpu
