#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "engine/ops/cuda/gpu_api.h"

namespace lckv {

// A library behind gpu_api.h, opened at run time and never closed (a CUDA context outlives what
// made it). `file` is a name or path for the dynamic linker; a bare name is looked for beside the
// running program and in ../lib of it first. UNAVAILABLE: there is no such library or it cannot be
// loaded (no driver, too old a glibc): the linker's words. FAILED_PRECONDITION: it is of another
// version of lckv, or something else altogether. Thread-safe.
absl::StatusOr<const gpu::GpuApi*> OpenGpuLibrary(const std::string& file);

// The library of this build: "liblckv_cuda.so".
extern const char kCudaLibrary[];
// The simulated GPU of the tests: "liblckv_cuda_sim.so".
extern const char kSimulatedCudaLibrary[];

}  // namespace lckv
