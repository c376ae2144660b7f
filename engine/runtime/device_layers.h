#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"

namespace lckv {

// How many layers' weights stay in device memory, when all are too many; the others stream from
// host memory in every step, which then takes as long as the link needs for them. All in bytes.
struct DeviceLayersRequest {
  int64_t free_bytes = 0;            // of the device, before anything of the model is there
  int64_t other_bytes = 0;           // weights and buffers that are there in any case
  std::vector<int64_t> layer_bytes;  // of each layer's matrices
  // The KV pool: a size, or else a share of what is left.
  std::optional<int64_t> kv_bytes;
  double kv_share = 0;           // in (0, 1]
  int64_t session_bytes = 0;     // KV of one context
  int64_t running_sessions = 0;  // at most, of those
};

// All layers if they fit: with a pool of kv_bytes, or one that holds one context at least. Else,
// with kv_bytes, as many as fit, and without the number with the most tokens a second: sessions
// running together over streamed bytes a step. RESOURCE_EXHAUSTED: not even none fits.
absl::StatusOr<int> ChooseDeviceLayers(const DeviceLayersRequest& request);

}  // namespace lckv
