#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "engine/ops/backend.h"
#include "engine/ops/cuda/gpu_api.h"

namespace lckv {

struct CudaOptions {
  int ordinal = 0;
  // kBf16: products of bf16 rows on the tensor cores, float32 sums. kF32: products of float32 rows
  // without them and without TF32, slow: for conformance.
  DType activations = DType::kBf16;
  // Products may use another algorithm for every number of rows: faster, but a row's bits then
  // depend on the batch (design rule 3 is off, and the numerics class says so).
  bool fast = false;
};

// The backend of one GPU. Numerics class "cuda-f32-r1", or "cuda-bf16-r1-sm_90-cublaslt-130100":
// the kernels' revision, and for products the device and the library, which decide their order of
// summation; "-fast" behind it.
//
// Every op is queued on the device's stream by the thread that calls; Synchronize and CopyToHost
// wait. The first error is kept: ops after it do nothing, and Synchronize reports it (INTERNAL).
// `api` must live as long as the process. INVALID_ARGUMENT: no such device, fast float32.
// UNAVAILABLE: no device at all, no driver, or one too old. FAILED_PRECONDITION:
// compute capability below 8.0. INTERNAL: the device cannot be opened.
absl::StatusOr<std::unique_ptr<Backend>> MakeCudaBackend(const gpu::GpuApi* api,
                                                         const CudaOptions& options);

}  // namespace lckv
