#pragma once

// The ops' part of a GpuApi, which is the same in every library: each op is queued by its launcher
// (kernels.h) on the device's stream.

#include "engine/ops/cuda/gpu_api.h"
#include "engine/ops/cuda/kernels.h"
#include "engine/ops/cuda/products.h"

namespace lckv::gpu {

// Defined by the library.
Stream StreamOf(Device* device);
Products& ProductsOf(Device* device);
const Workspace& WorkspaceOf(Device* device);

template <typename Args, int (*kLaunch)(const Args&, Stream)>
int Queue(Device* device, const Args* args) {
  return kLaunch(*args, StreamOf(device));
}
template <typename Args, int (*kLaunch)(const Args&, const Workspace&, Stream)>
int Queue(Device* device, const Args* args) {
  return kLaunch(*args, WorkspaceOf(device), StreamOf(device));
}

inline int PrepareProduct(Device* device, const Weight* weight, char* text, uint64_t text_bytes) {
  return ProductsOf(device).Prepare(*weight, text, text_bytes);
}

inline int RunProduct(Device* device, const LinearArgs* args) {
  return ProductsOf(device).Run(*args, StreamOf(device));
}

// `api` with version, size and ops filled in.
inline GpuApi WithOps(GpuApi api) {
  api.version = kApiVersion;
  api.size = sizeof(GpuApi);
  api.embed = &Queue<EmbedArgs, &LaunchEmbed>;
  api.rms_norm = &Queue<RmsNormParams, &LaunchRmsNorm>;
  api.prepare_product = &PrepareProduct;
  api.linear = &RunProduct;
  api.rope_and_store = &Queue<RopeAndStoreParams, &LaunchRopeAndStore>;
  api.attention = &Queue<AttentionParams, &LaunchAttention>;
  api.swi_glu = &Queue<SwiGluParams, &LaunchSwiGlu>;
  api.kv_change = &Queue<KvChangeParams, &LaunchKvChange>;
  api.gather_rows = &Queue<GatherRowsParams, &LaunchGatherRows>;
  api.copy_rows = &Queue<CopyRowsParams, &LaunchCopyRows>;
  api.sample = &Queue<SampleParams, &LaunchSample>;
  api.crc32c = &Queue<Crc32cParams, &LaunchCrc32c>;
  return api;
}

}  // namespace lckv::gpu
