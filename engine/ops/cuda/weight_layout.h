#pragma once

// How a weight matrix [out_features][in_features] lies in GPU memory; for host and device code.
//
// Formats of single values (f32, f16, bf16) and row formats (i8, fp8): as in a file, but for the
// row formats' scales, which lie apart; row after row, each padded with zeros to a multiple of 16
// bytes.
//
// Block formats (dtype_enum.h): tiles of 16 outputs and kTileInputs inputs, in the order in which
// the lanes of a warp take them for a tensor core's product (linear_mma.cu). All tiles of outputs 0
// to 15 by ascending input, then those of outputs 16 to 31, and so on; what lies beyond the matrix
// is zero, scales too. With, for output o and input k of a tile,
//   lane = 4 (o % 8) + k % 32 / 8,   row = o / 8,   half = k / 32,   i = k % 8
// a tile is
//   kQ4_1, 16 x 64, 640 bytes:  for each lane 16 bytes: for each half and row 4 bytes, value i in
//                               nibble i, the low one of a byte first; then for each o % 8, half
//                               and row 4 bytes: f16 scale, f16 minimum
//   kQ8_0, 16 x 32, 544 bytes:  for each lane 16 bytes: for each row 8 bytes, int8 value i; then
//                               for each o % 8 and row 2 bytes: f16 scale
// So 16 bytes of a lane are what it needs of output o % 8 and o % 8 + 8, and a tile is one stretch
// of memory. Tiles begin at multiples of 16 bytes.

#include <cstdint>

#include "engine/ops/host_device.h"
#include "engine/tensor/dtype_enum.h"

namespace lckv::gpu {

inline constexpr int32_t kTileOutputs = 16;
inline constexpr int32_t kTileQuantBytes = 512;  // 16 for each lane of a warp
inline constexpr int64_t kRowAlignment = 16;

// Of the block formats:
LCKV_HOST_DEVICE constexpr bool IsTiled(DType dtype) {
  return dtype == DType::kQ4_1 || dtype == DType::kQ8_0;
}
LCKV_HOST_DEVICE constexpr int32_t TileInputs(DType dtype) {
  return dtype == DType::kQ4_1 ? 64 : 32;
}
LCKV_HOST_DEVICE constexpr int32_t TileBytes(DType dtype) {
  return kTileQuantBytes + (dtype == DType::kQ4_1 ? 128 : 32);
}

// Where a value of a tile lies, in bytes from the tile's beginning.
struct TilePlace {
  int32_t quant;      // its byte
  int32_t high_half;  // kQ4_1: 1 if it is the high nibble
  int32_t scale;      // the f16 scale; the minimum comes behind it
};
LCKV_HOST_DEVICE constexpr TilePlace PlaceInTile(DType dtype, int32_t output, int32_t input) {
  const int32_t in_eight = output % 8;
  const int32_t row = output / 8;
  const int32_t half = input / 32;
  const int32_t i = input % 8;
  const int32_t lane_byte = 16 * (4 * in_eight + input % 32 / 8);
  if (dtype == DType::kQ4_1) {
    const int32_t piece = 4 * (2 * half + row);
    return {lane_byte + piece + i / 2, i % 2, kTileQuantBytes + 16 * in_eight + piece};
  }
  return {lane_byte + 8 * row + i, 0, kTileQuantBytes + 4 * in_eight + 2 * row};
}

// Bytes from the matrix's beginning to the tile of this output and input; `row_bytes` as
// RowBytes().
LCKV_HOST_DEVICE constexpr int64_t TileOffset(DType dtype, int64_t row_bytes, int64_t output,
                                              int32_t input) {
  return output / kTileOutputs * kTileOutputs * row_bytes +
         static_cast<int64_t>(input / TileInputs(dtype)) * TileBytes(dtype);
}

// For the host (weight_layout.cc).

// Bytes of one output, as far as outputs have bytes of their own: a tiled matrix has kTileOutputs
// times as many for each kTileOutputs outputs.
int64_t RowBytes(DType dtype, int64_t in_features);
// Rows of RowBytes() that the matrix takes: a multiple of kTileOutputs if tiled.
int64_t StoredRows(DType dtype, int64_t out_features);
// Writes output `output`, as in a file (row formats: without its scale), to its place in a matrix
// that begins at `to`, whose bytes are zero but for outputs already written.
void LayOutRow(DType dtype, int64_t in_features, int64_t output, const uint8_t* from, uint8_t* to);

}  // namespace lckv::gpu
