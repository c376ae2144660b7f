#include "engine/device/device.h"

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "engine/ops/cuda/cuda_backend.h"
#include "engine/ops/cuda/gpu_library.h"

namespace lckv {
namespace {

absl::StatusOr<std::unique_ptr<Backend>> OpenGpu(const std::string& library, int ordinal) {
  LCKV_ASSIGN_OR_RETURN(const gpu::GpuApi* api, OpenGpuLibrary(library));
  return MakeCudaBackend(api, ordinal);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Backend>> OpenDevice(const DeviceOptions& options) {
  const absl::string_view device = options.device;
  if (device == "cpu") return MakeCpuBackend(options.cpu);
  if (device == "cuda-sim") return OpenGpu(kSimulatedCudaLibrary, 0);
  if (device == "auto") {
    absl::StatusOr<std::unique_ptr<Backend>> gpu = OpenGpu(kCudaLibrary, 0);
    if (gpu.ok()) return gpu;
    LogInfo("no GPU, the processor computes", {{"reason", gpu.status().message()}});
    return MakeCpuBackend(options.cpu);
  }
  int ordinal = 0;
  const bool cuda =
      device == "cuda" ||
      (absl::StartsWith(device, "cuda:") &&
       absl::SimpleAtoi(absl::StripPrefix(device, "cuda:"), &ordinal) && ordinal >= 0);
  if (!cuda) {
    return absl::InvalidArgumentError(
        absl::StrCat("device \"", device, "\": want auto, cpu, cuda:N or cuda-sim"));
  }
  return OpenGpu(kCudaLibrary, ordinal);
}

}  // namespace lckv
