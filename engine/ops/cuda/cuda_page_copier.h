#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "base/clock.h"
#include "engine/ops/cuda/gpu_api.h"
#include "engine/ops/page_copier.h"

namespace lckv {

// Page traffic of a GPU: StreamId::kCopyIn and kCopyOut. All must outlive it; `clock` tells the
// time for the bandwidth limit. RESOURCE_EXHAUSTED: no events.
absl::StatusOr<std::unique_ptr<PageCopier>> MakeCudaPageCopier(const gpu::GpuApi* api,
                                                               gpu::Device* device, Clock* clock,
                                                               const PageCopierOptions& options);

}  // namespace lckv
