#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "engine/ops/backend.h"
#include "engine/ops/cuda/event_ring.h"
#include "engine/ops/cuda/gpu_api.h"
#include "engine/ops/cuda/upload_ring.h"
#include "engine/tensor/host_matrix.h"

namespace lckv {

// Converts rows [begin, begin + rows) of `matrix` to `format`, laid out as weight_layout.h has it,
// on all threads: to `out`, `row_bytes` (as RowBytes()) each. If `scales` is not empty, what each
// row begins with goes there instead (scales.size() / matrix.rows bytes of each).
void ConvertWeight(const HostMatrix& matrix, int64_t begin, int64_t rows, DType format,
                   int64_t row_bytes, uint8_t* out, absl::Span<uint8_t> scales);

// Converts weights and brings them into device memory through two pinned buffers by turns: while
// one is being copied, the next piece is converted into the other, on all threads. Both stay until
// the end, also between matrices: the copy of one's last piece overlaps with the next one's first.
// For one thread, the backend's.
class WeightUpload {
 public:
  // Takes its buffers from `backend` at the first upload. All must outlive it. Its end waits for
  // copies under way.
  WeightUpload(Backend* backend, const gpu::GpuApi* api, gpu::Device* device);

  // `matrix`, converted as ConvertWeight does, goes to `device`. What is queued on the compute
  // stream later sees it; `matrix` is not needed when this returns. RESOURCE_EXHAUSTED (pinned
  // memory), INTERNAL (the device).
  absl::Status Upload(const HostMatrix& matrix, DType format, int64_t row_bytes, uint8_t* device,
                      absl::Span<uint8_t> scales);

 private:
  absl::Status Prepare(int64_t least_bytes);
  absl::Status UploadPieces(const HostMatrix& matrix, DType format, int64_t row_bytes,
                            uint8_t* device, absl::Span<uint8_t> scales);
  absl::Status Check(int error) const;

  const gpu::GpuApi* const api_;
  EventRing allocations_;  // on the compute stream: memory is zeroed there
  UploadRing pieces_;
  bool ready_ = false;
};

}  // namespace lckv
