#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "engine/ops/backend.h"

namespace lckv {

// Where a model runs, as users say it (--device):
//   cpu       this machine's processor
//   cuda:N    GPU N (cuda: 0); needs liblckv_cuda.so, a driver and the device
//   auto      cuda:0 if it can be opened, else cpu, with a log line that says why
//   cuda-sim  the CUDA kernels on the simulated GPU (needs liblckv_cuda_sim.so): for tests, slow
struct DeviceOptions {
  std::string device = "auto";
  CpuBackendOptions cpu;  // of cpu
  // What products read: "f32", "bf16" (a GPU only), or "auto": bf16 on a GPU, else f32.
  std::string compute = "auto";
  // Of a GPU: see CudaOptions.
  bool fast = false;
};

// INVALID_ARGUMENT: no such name or GPU number, or a way to compute that the device has not.
// UNAVAILABLE: no GPU library, driver or GPU. FAILED_PRECONDITION: a library of another version or
// a broken one, a GPU that is too old, an instruction set that the machine lacks.
absl::StatusOr<std::unique_ptr<Backend>> OpenDevice(const DeviceOptions& options);

}  // namespace lckv
