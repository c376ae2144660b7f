#pragma once

// The kernels' launchers: plain functions over the argument structs of gpu_api.h, each in the .cu
// file that holds its kernels. They queue on `stream` and return 0 or the launch's error. Arguments
// have been checked (cuda_backend.cc); rows > 0.

#include "engine/ops/cuda/gpu_api.h"

namespace lckv::gpu {

using Stream = void*;  // cudaStream_t

int LaunchEmbed(const EmbedArgs& args, Stream stream);
int LaunchRmsNorm(const RmsNormArgs& args, Stream stream);
int LaunchLinear(const LinearArgs& args, Stream stream);
int LaunchRope(const RopeArgs& args, Stream stream);
int LaunchStoreKv(const StoreKvArgs& args, Stream stream);
int LaunchAttention(const AttentionArgs& args, Stream stream);
int LaunchSwiGlu(const SwiGluArgs& args, Stream stream);
int LaunchKvChange(const KvChangeArgs& args, Stream stream);
int LaunchGatherRows(const GatherRowsArgs& args, Stream stream);

// Shared memory of an attention block, bytes; a block has 48 KiB.
inline constexpr int64_t kMaxSharedBytes = 48 * 1024;
int64_t AttentionSharedBytes(int32_t heads_per_kv_head, int32_t head_dim);

}  // namespace lckv::gpu
