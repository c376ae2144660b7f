#include "engine/ops/cuda/weight_upload.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/status_macros.h"
#include "base/units.h"
#include "engine/ops/cuda/gpu_status.h"
#include "engine/ops/cuda/weight_layout.h"
#include "engine/ops/weight_rows.h"
#include "engine/tensor/parallel_for.h"

namespace lckv {
namespace {

constexpr size_t kPieces = 2;
constexpr int64_t kPieceBytes = int64_t{8} << 20;
// What one call of a thread converts: enough that handing it out does not show.
constexpr int64_t kTaskBytes = int64_t{256} << 10;

// As many rows as `bytes` hold, a multiple of those that lie together and not 0.
int64_t RowsOf(int64_t bytes, DType format, int64_t row_bytes) {
  const int64_t together = gpu::StoredRows(format, 1);
  return std::max(bytes / row_bytes / together * together, together);
}

}  // namespace

void ConvertWeight(const HostMatrix& matrix, int64_t begin, int64_t rows, DType format,
                   int64_t row_bytes, uint8_t* out, absl::Span<uint8_t> scales) {
  const int64_t stored_bytes = BytesOf(format, matrix.cols);
  const int64_t scale_bytes = static_cast<int64_t>(scales.size()) / matrix.rows;
  const int64_t rows_of_task = RowsOf(kTaskBytes, format, row_bytes);
  ParallelFor(CeilDiv(rows, rows_of_task), LoadThreads(), [&](int64_t task) {
    std::vector<float> scratch(static_cast<size_t>(matrix.cols));
    std::vector<uint8_t> stored(static_cast<size_t>(stored_bytes));
    const int64_t first = task * rows_of_task;
    const int64_t end = std::min(first + rows_of_task, rows);
    std::memset(out + first * row_bytes, 0,
                static_cast<size_t>(gpu::StoredRows(format, end - first) * row_bytes));
    for (int64_t i = first; i < end; ++i) {
      ConvertRow(matrix, begin + i, format, scratch.data(), stored.data());
      std::copy_n(stored.begin(), scale_bytes, scales.begin() + (begin + i) * scale_bytes);
      gpu::LayOutRow(format, matrix.cols, i, stored.data() + scale_bytes, out);
    }
  });
}

WeightUpload::WeightUpload(Backend* backend, const gpu::GpuApi* api, gpu::Device* device)
    : api_(api),
      allocations_(api, device, gpu::StreamId::kCompute),
      pieces_(backend, api, device, gpu::StreamId::kCopyIn, kPieces) {}

absl::Status WeightUpload::Check(int error) const { return GpuStatus(api_, "weights", error); }

absl::Status WeightUpload::Prepare(int64_t least_bytes) {
  if (!ready_) {
    LCKV_RETURN_IF_ERROR(Check(allocations_.Create()));
    ready_ = true;
  }
  return pieces_.Reserve(static_cast<size_t>(std::max(kPieceBytes, least_bytes)));
}

absl::Status WeightUpload::Upload(const HostMatrix& matrix, DType format, int64_t row_bytes,
                                  uint8_t* device, absl::Span<uint8_t> scales) {
  LCKV_RETURN_IF_ERROR(Prepare(gpu::StoredRows(format, 1) * row_bytes));
  LCKV_RETURN_IF_ERROR(Check(allocations_.Record()));
  LCKV_RETURN_IF_ERROR(Check(pieces_.StreamWaitFor(allocations_)));
  const absl::Status status = UploadPieces(matrix, format, row_bytes, device, scales);
  // The caller frees `device` after an error: nothing may be on its way there.
  if (!status.ok()) {
    pieces_.Wait();
    return status;
  }
  return Check(pieces_.StreamWait(gpu::StreamId::kCompute));
}

absl::Status WeightUpload::UploadPieces(const HostMatrix& matrix, DType format, int64_t row_bytes,
                                        uint8_t* device, absl::Span<uint8_t> scales) {
  const int64_t rows_at_once = RowsOf(kPieceBytes, format, row_bytes);
  for (int64_t begin = 0; begin < matrix.rows; begin += rows_at_once) {
    const int64_t rows = std::min(rows_at_once, matrix.rows - begin);
    uint8_t* piece = nullptr;
    LCKV_RETURN_IF_ERROR(Check(pieces_.Take(&piece)));
    ConvertWeight(matrix, begin, rows, format, row_bytes, piece, scales);
    LCKV_RETURN_IF_ERROR(
        Check(pieces_.Send(device + begin * row_bytes,
                           static_cast<size_t>(gpu::StoredRows(format, rows) * row_bytes))));
  }
  return absl::OkStatus();
}

}  // namespace lckv
