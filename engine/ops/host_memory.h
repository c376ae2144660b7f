#pragma once

#include <cstddef>

#include "absl/status/statusor.h"
#include "engine/ops/backend.h"

namespace lckv {

// Zeroed host memory, aligned to 64 bytes, from 64 KiB on to 4096 and from 4 MiB on to 2 MiB (so
// that the kernel can back it with huge pages). Touched before it returns: nothing is left to fail
// later. RESOURCE_EXHAUSTED. Thread-safe.
absl::StatusOr<DeviceBuffer> AllocateHostMemory(size_t size_bytes);

}  // namespace lckv
