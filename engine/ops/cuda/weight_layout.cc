#include "engine/ops/cuda/weight_layout.h"

#include <cstring>

#include "engine/tensor/dtype.h"

namespace lckv::gpu {
namespace {

// Of a row in a file, without a row format's scale.
int64_t StoredBytes(DType dtype, int64_t in_features) {
  return BytesOf(dtype, in_features) - (IsRowQuantized(dtype) ? kRowScaleBytes : 0);
}

int64_t RoundUp(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }

// Values [8 * chunk, 8 * chunk + 8) of a kQ4_1 block's quants, the first in the lowest nibble.
void CopyNibbles(const uint8_t* quants, int chunk, uint8_t* to) {
  constexpr int kBytes = kQuantBlock / 2;
  const uint8_t* const from = quants + 8 * chunk % kBytes;
  const int shift = 8 * chunk < kBytes ? 0 : 4;
  for (int i = 0; i < 8; i += 2) {
    to[i / 2] = static_cast<uint8_t>((from[i] >> shift & 15) | (from[i + 1] >> shift & 15) << 4);
  }
}

// One output of a tiled format.
void LayOutBlocks(DType dtype, int64_t in_features, int64_t row_bytes, int64_t row,
                  const uint8_t* from, uint8_t* to) {
  const int64_t scale_bytes = dtype == DType::kQ4_1 ? 4 : 2;
  const int64_t block_bytes = BytesOf(dtype, kQuantBlock);
  const auto output = static_cast<int32_t>(row % kTileOutputs);
  for (int64_t block = 0; block < in_features / kQuantBlock; ++block) {
    const auto input = static_cast<int32_t>(block * kQuantBlock);
    uint8_t* const tile = to + TileOffset(dtype, row_bytes, row, input);
    const uint8_t* const stored = from + block * block_bytes;
    const int32_t in_tile = input % TileInputs(dtype);
    std::memcpy(tile + PlaceInTile(dtype, output, in_tile).scale, stored,
                static_cast<size_t>(scale_bytes));
    for (int chunk = 0; chunk < kQuantBlock / 8; ++chunk) {
      uint8_t* const quants = tile + PlaceInTile(dtype, output, in_tile + 8 * chunk).quant;
      if (dtype == DType::kQ4_1) {
        CopyNibbles(stored + scale_bytes, chunk, quants);
      } else {
        std::memcpy(quants, stored + scale_bytes + 8 * chunk, 8);
      }
    }
  }
}

}  // namespace

int64_t RowBytes(DType dtype, int64_t in_features) {
  if (!IsTiled(dtype)) return RoundUp(StoredBytes(dtype, in_features), kRowAlignment);
  const int64_t tiles = RoundUp(in_features, TileInputs(dtype)) / TileInputs(dtype);
  return tiles * TileBytes(dtype) / kTileOutputs;
}

int64_t StoredRows(DType dtype, int64_t out_features) {
  return IsTiled(dtype) ? RoundUp(out_features, kTileOutputs) : out_features;
}

void LayOutRow(DType dtype, int64_t in_features, int64_t output, const uint8_t* from, uint8_t* to) {
  const int64_t row_bytes = RowBytes(dtype, in_features);
  if (IsTiled(dtype)) {
    LayOutBlocks(dtype, in_features, row_bytes, output, from, to);
  } else {
    std::memcpy(to + output * row_bytes, from,
                static_cast<size_t>(StoredBytes(dtype, in_features)));
  }
}

}  // namespace lckv::gpu
