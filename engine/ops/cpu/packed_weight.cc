#include "engine/ops/cpu/packed_weight.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/ops/cpu/kernels.h"
#include "engine/ops/host_memory.h"
#include "engine/ops/weight_rows.h"

namespace lckv::cpu {
namespace {

constexpr int kQ8BlockBytes = 2 + kQuantBlock;  // of one row, as stored
constexpr int kQ4BlockBytes = 4 + kQuantBlock / 2;

float LoadF16(const uint8_t* p) {
  uint16_t bits;
  std::memcpy(&bits, p, sizeof(bits));
  return F16ToF32(bits);
}

// The Pack functions put one row into `lane` of a panel.

void PackPlain(const uint8_t* row, int64_t count, int64_t value_bytes, int lane, uint8_t* panel) {
  uint8_t* out = panel + lane * value_bytes;
  for (int64_t k = 0; k < count; ++k, row += value_bytes, out += kPanel * value_bytes) {
    std::memcpy(out, row, static_cast<size_t>(value_bytes));
  }
}

void PackQ8_0(const uint8_t* row, int64_t blocks, int lane, uint8_t* panel) {
  for (int64_t b = 0; b < blocks; ++b, row += kQ8BlockBytes, panel += kPanel * kQ8BlockBytes) {
    std::memcpy(panel + 2 * lane, row, 2);
    uint8_t* q = panel + 2 * kPanel + lane;
    for (int k = 0; k < kQuantBlock; ++k) q[k * kPanel] = row[2 + k];
  }
}

void PackQ4_1(const uint8_t* row, int64_t blocks, int lane, uint8_t* panel) {
  for (int64_t b = 0; b < blocks; ++b, row += kQ4BlockBytes, panel += kPanel * kQ4BlockBytes) {
    std::memcpy(panel + 2 * lane, row, 2);
    std::memcpy(panel + 2 * kPanel + 2 * lane, row + 2, 2);
    const auto nibble = [row](int k) { return k < 16 ? row[4 + k] & 0xF : row[4 + k - 16] >> 4; };
    uint8_t* q = panel + 4 * kPanel + lane;
    for (int k = 0; k < kQuantBlock; k += 2) {
      q[k / 2 * kPanel] = static_cast<uint8_t>(nibble(k) | nibble(k + 1) << 4);
    }
  }
}

}  // namespace

PackedWeight::PackedWeight(int32_t in_features, int32_t out_features, DType dtype,
                           DeviceBuffer panels, int64_t panel_bytes)
    : in_features_(in_features),
      out_features_(out_features),
      dtype_(dtype),
      panels_(std::move(panels)),
      panel_bytes_(panel_bytes) {}

absl::StatusOr<std::unique_ptr<PackedWeight>> PackedWeight::Create(const HostMatrix& matrix,
                                                                   DType format, ThreadPool& pool) {
  LCKV_RETURN_IF_ERROR(CheckWeight(matrix, format));
  if (IsRowQuantized(format)) {
    return absl::InvalidArgumentError(
        absl::StrCat("the CPU has no products of ", Name(format), " weights; q8_0 is its int8"));
  }
  const int64_t panels = (matrix.rows + kPanel - 1) / kPanel;
  const int64_t row_bytes = BytesOf(format, matrix.cols);
  LCKV_ASSIGN_OR_RETURN(DeviceBuffer buffer,
                        AllocateHostMemory(static_cast<size_t>(panels * kPanel * row_bytes)));
  auto weight = absl::WrapUnique(new PackedWeight(static_cast<int32_t>(matrix.cols),
                                                  static_cast<int32_t>(matrix.rows), format,
                                                  std::move(buffer), kPanel * row_bytes));
  pool.ParallelFor(panels, kPanel * matrix.cols, [&](int64_t begin, int64_t end, int /*thread*/) {
    std::vector<float> values(static_cast<size_t>(matrix.cols));
    std::vector<uint8_t> stored(static_cast<size_t>(row_bytes));
    for (int64_t panel = begin; panel < end; ++panel) {
      weight->Pack(matrix, panel, values.data(), stored.data());
    }
  });
  return weight;
}

void PackedWeight::Pack(const HostMatrix& matrix, int64_t panel, float* values,
                        uint8_t* stored) const {
  uint8_t* out = panels_.bytes() + panel * panel_bytes_;
  const int64_t first = panel * kPanel;
  const int lanes = static_cast<int>(std::min<int64_t>(kPanel, matrix.rows - first));
  for (int lane = 0; lane < lanes; ++lane) {
    ConvertRow(matrix, first + lane, dtype_, values, stored);
    if (dtype_ == DType::kQ8_0) {
      PackQ8_0(stored, matrix.cols / kQuantBlock, lane, out);
    } else if (dtype_ == DType::kQ4_1) {
      PackQ4_1(stored, matrix.cols / kQuantBlock, lane, out);
    } else {
      PackPlain(stored, matrix.cols, BytesOf(dtype_, 1), lane, out);
    }
  }
}

void PackedWeight::RestoreRow(int32_t row, float* out) const {
  const uint8_t* panel = panels_.bytes() + row / kPanel * panel_bytes_;
  const int lane = row % kPanel;
  if (dtype_ == DType::kQ8_0) {
    for (int32_t k = 0; k < in_features_; ++k) {
      const uint8_t* block = panel + k / kQuantBlock * (kPanel * kQ8BlockBytes);
      const uint8_t q = block[2 * kPanel + k % kQuantBlock * kPanel + lane];
      out[k] = LoadF16(block + 2 * lane) * static_cast<float>(static_cast<int8_t>(q));
    }
  } else if (dtype_ == DType::kQ4_1) {
    for (int32_t k = 0; k < in_features_; ++k) {
      const uint8_t* block = panel + k / kQuantBlock * (kPanel * kQ4BlockBytes);
      const uint8_t pair = block[4 * kPanel + k % kQuantBlock / 2 * kPanel + lane];
      const auto q = static_cast<float>(k % 2 == 0 ? pair & 0xF : pair >> 4);
      out[k] = std::fma(LoadF16(block + 2 * lane), q, LoadF16(block + 2 * kPanel + 2 * lane));
    }
  } else {
    const int64_t value_bytes = BytesOf(dtype_, 1);
    for (int64_t k = 0; k < in_features_; ++k) {
      const uint8_t* value = panel + (k * kPanel + lane) * value_bytes;
      DequantizeRow({value, dtype_, 1, 1}, 0, out + k);
    }
  }
}

}  // namespace lckv::cpu
