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

absl::StatusOr<std::unique_ptr<Backend>> OpenGpu(const DeviceOptions& options,
                                                 const std::string& library, int ordinal) {
  CudaOptions cuda;
  cuda.ordinal = ordinal;
  cuda.activations = options.compute == "f32" ? DType::kF32 : DType::kBf16;
  cuda.fast = options.fast;
  LCKV_ASSIGN_OR_RETURN(const gpu::GpuApi* api, OpenGpuLibrary(library));
  return MakeCudaBackend(api, cuda);
}

absl::StatusOr<std::unique_ptr<Backend>> OpenCpu(const DeviceOptions& options) {
  if (options.compute == "bf16") {
    return absl::InvalidArgumentError("compute \"bf16\": the CPU computes in f32");
  }
  return MakeCpuBackend(options.cpu);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Backend>> OpenDevice(const DeviceOptions& options) {
  const absl::string_view device = options.device;
  if (options.compute != "auto" && options.compute != "f32" && options.compute != "bf16") {
    return absl::InvalidArgumentError(
        absl::StrCat("compute \"", options.compute, "\": want auto, f32 or bf16"));
  }
  if (device == "cpu") return OpenCpu(options);
  if (device == "cuda-sim") return OpenGpu(options, kSimulatedCudaLibrary, 0);
  if (device == "auto") {
    absl::StatusOr<std::unique_ptr<Backend>> gpu = OpenGpu(options, kCudaLibrary, 0);
    if (gpu.ok()) return gpu;
    LogInfo("no GPU, the processor computes", {{"reason", gpu.status().message()}});
    return OpenCpu(options);
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
  return OpenGpu(options, kCudaLibrary, ordinal);
}

}  // namespace lckv
