#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "engine/ops/backend.h"
#include "engine/ops/cuda/gpu_api.h"

namespace lckv {

// The backend of one GPU. Numerics class "cuda-f32-r1": float32 activations and sums, no TF32.
//
// Every op is queued on the device's stream by the thread that calls; Synchronize and CopyToHost
// wait. The first error is kept: ops after it do nothing, and Synchronize reports it (INTERNAL).
// `api` must live as long as the process. INVALID_ARGUMENT: no such device. UNAVAILABLE: no device
// at all, no driver, or one too old. INTERNAL: the device cannot be opened.
absl::StatusOr<std::unique_ptr<Backend>> MakeCudaBackend(const gpu::GpuApi* api, int ordinal);

}  // namespace lckv
