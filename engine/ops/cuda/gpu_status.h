#pragma once

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "engine/ops/cuda/gpu_api.h"

namespace lckv {

// A library's error code as a status: INTERNAL "GPU, `what`: …"; OK for 0.
inline absl::Status GpuStatus(const gpu::GpuApi* api, absl::string_view what, int error) {
  if (error == 0) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("GPU, ", what, ": ", api->error_text(error)));
}

}  // namespace lckv
