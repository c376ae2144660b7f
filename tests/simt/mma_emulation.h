#pragma once

// engine/ops/cuda/mma.cuh for the host compiler; device_emulation.h includes it. Fragment layouts
// are described there.

#include <cmath>
#include <cstdint>

#include "tests/simt/executor.h"
#include "tests/simt/shared_array.h"

namespace lckv::gpu::device {

template <typename T>
void CopyAsync16(SharedPointer<T> to, const void* from, bool valid = true) {
  simt::CheckAligned("shared memory", to.offset(), sizeof(Vec16));
  simt::CheckAligned("global memory", reinterpret_cast<uintptr_t>(from), sizeof(Vec16));
  simt::CopyAsync(to.area(), to.offset(), from, valid);
}
inline void CopyAsyncCommit() { simt::CopyAsyncCommit(); }
template <int kGroups>
void CopyAsyncWait() {
  simt::CopyAsyncWait(kGroups);
}

// A lane reads the row that it names; then each takes its parts of all rows.
inline const simt::LaneWords* ExchangeRows(const char* name, SharedPointer<const uint16_t> row) {
  const Vec16 values = Load16(row);
  return simt::Exchange({name, kAllLanes, 0}, values.words, 4);
}
inline void LoadMatrices(uint32_t (&out)[4], SharedPointer<const uint16_t> row) {
  const simt::LaneWords* const rows = ExchangeRows("LoadMatrices", row);
  const int lane = simt::Lane();
  for (int m = 0; m < 4; ++m) out[m] = rows[8 * m + lane / 4][static_cast<size_t>(lane % 4)];
}
inline void LoadMatricesTransposed(uint32_t (&out)[4], SharedPointer<const uint16_t> row) {
  const simt::LaneWords* const rows = ExchangeRows("LoadMatricesTransposed", row);
  const int lane = simt::Lane();
  const int column = lane / 4;
  const auto value = [=](int row_index) {
    const uint32_t word = rows[row_index][static_cast<size_t>(column / 2)];
    return column % 2 == 0 ? word & 0xffffu : word >> 16;
  };
  for (int m = 0; m < 4; ++m) {
    const int first = 8 * m + 2 * (lane % 4);
    out[m] = value(first) | value(first + 1) << 16;
  }
}

inline uint32_t PackBf16(float low, float high) {
  const auto rounded = [](float value) {
    const uint32_t bits = BitsOf(value);
    if (std::isnan(value)) return 0x7fffu;
    return (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
  };
  return rounded(low) | rounded(high) << 16;
}

inline float F16ToF32(uint16_t bits);  // device.cuh
inline void UnpackF16(uint32_t pair, float& low, float& high) {
  low = F16ToF32(static_cast<uint16_t>(pair & 0xffffu));
  high = F16ToF32(static_cast<uint16_t>(pair >> 16));
}

inline void MultiplyBf16(float (&sums)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  const uint32_t mine[6] = {a[0], a[1], a[2], a[3], b[0], b[1]};
  const simt::LaneWords* const all = simt::Exchange({"MultiplyBf16", kAllLanes, 0}, mine, 6);
  const int lane = simt::Lane();
  const auto half = [](uint32_t word, int high) {
    return double{FloatOf(high != 0 ? word & 0xffff0000u : word << 16)};
  };
  for (int i = 0; i < 4; ++i) {
    const int row = lane / 4;  // of the upper or the lower half of a
    const int column = 2 * (lane % 4) + i % 2;
    double sum = double{sums[i]};
    for (int k = 0; k < 16; ++k) {
      const int holder = k % 8 / 2;
      const uint32_t a_word = all[4 * row + holder][static_cast<size_t>(i / 2 + k / 8 * 2)];
      const uint32_t b_word = all[4 * column + holder][static_cast<size_t>(4 + k / 8)];
      sum += half(a_word, k % 2) * half(b_word, k % 2);
    }
    sums[i] = static_cast<float>(sum);
  }
}

}  // namespace lckv::gpu::device
