#pragma once

#include <cstdint>

#include "engine/ops/cpu/kernels.h"
#include "engine/ops/cpu/math_inl.h"

namespace lckv::cpu {

// How the weights of one panel are read, 16 output features at a time: Begin at a block of
// kQuantBlock consecutive k, then k by k, or two at a time where formats store pairs. `kBytes`:
// size of a whole block.
template <class V, DType D>
struct PanelReader {  // kF32, kF16, kBf16: [k][kPanel]
  static constexpr int kStepBytes = kPanel * kStoredBytes<D>;
  static constexpr int kBytes = kQuantBlock * kStepBytes;
  const uint8_t* steps;
  void Begin(const uint8_t* block) { steps = block; }
  V One(int k) const { return LoadStored<V, D>(steps + k * kStepBytes); }
  void Pair(int i, V& first, V& second) const {
    first = One(2 * i);
    second = One(2 * i + 1);
  }
};

template <class V>
struct PanelReader<V, DType::kQ8_0> {  // d [kPanel] f16, q [32][kPanel] int8
  static constexpr int kBytes = kPanel * (2 + kQuantBlock);
  const uint8_t* steps;
  V d;
  void Begin(const uint8_t* block) {
    d = V::LoadF16(block);
    steps = block + 2 * kPanel;
  }
  V One(int k) const { return d * V::LoadI8(steps + k * kPanel); }
  void Pair(int i, V& first, V& second) const {
    first = One(2 * i);
    second = One(2 * i + 1);
  }
};

template <class V>
struct PanelReader<V, DType::kQ4_1> {
  // d, m [kPanel] f16, [16][kPanel] bytes: k even in the low nibble, k + 1 in the high
  static constexpr int kBytes = kPanel * (4 + kQuantBlock / 2);
  const uint8_t* steps;
  V d;
  V m;
  void Begin(const uint8_t* block) {
    d = V::LoadF16(block);
    m = V::LoadF16(block + 2 * kPanel);
    steps = block + 4 * kPanel;
  }
  V One(int k) const {  // of an even k; in truth never called, blocks are whole
    V first, second;
    Pair(k / 2, first, second);
    return first;
  }
  void Pair(int i, V& first, V& second) const {
    V low, high;
    V::LoadU4(steps + i * kPanel, low, high);
    first = V::Fma(d, low, m);
    second = V::Fma(d, high, m);
  }
};

// out[row][panel] from its sum.
template <class V>
[[gnu::always_inline]] inline void Finish(const LinearArgs& args, V sum, int64_t row,
                                          int64_t panel) {
  const int64_t column = panel * kPanel;
  const int64_t left = args.out_features - column;
  float* out = args.out + row * args.out_features + column;
  if (left >= kPanel) {
    if (args.bias != nullptr) sum = sum + V::Load(args.bias + column);
    if (args.accumulate) sum = V::Load(out) + sum;
    sum.Store(out);
    return;
  }
  const int count = static_cast<int>(left);
  if (args.bias != nullptr) sum = sum + LoadFirst<V>(args.bias + column, count);
  if (args.accumulate) sum = LoadFirst<V>(out, count) + sum;
  StoreFirst(sum, out, count);
}

// All rows (kRows, few) times kPanels adjacent panels, weights restored in registers: for decoding,
// which waits for memory. kRows * kPanels independent sums hide the latency of the multiply-adds.
template <class V, DType D, int kRows, int kPanels>
void FusedTile(const LinearArgs& args, int64_t panel) {
  const int64_t in_features = args.in_features;
  const int64_t panel_bytes = args.panel_bytes;
  const uint8_t* blocks = args.panels + panel * panel_bytes;
  const float* x = args.x;
  V sum[kPanels * kRows];
#pragma GCC unroll 8
  for (V& s : sum) s = V::Zero();
  for (int64_t k0 = 0; k0 < in_features; k0 += kQuantBlock) {
    PanelReader<V, D> reader[kPanels];
#pragma GCC unroll 8
    for (int p = 0; p < kPanels; ++p) reader[p].Begin(blocks + p * panel_bytes);
    const int64_t left = in_features - k0;
    const int count = left < kQuantBlock ? static_cast<int>(left) : kQuantBlock;
    for (int i = 0; i < count / 2; ++i) {
#pragma GCC unroll 8
      for (int p = 0; p < kPanels; ++p) {
        V first, second;
        reader[p].Pair(i, first, second);
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) {
          const float* xr = x + r * in_features + 2 * i;
          V& s = sum[p * kRows + r];
          s = V::Fma(V::Set(xr[1]), second, V::Fma(V::Set(xr[0]), first, s));
        }
      }
    }
    if (count % 2 != 0) {
#pragma GCC unroll 8
      for (int p = 0; p < kPanels; ++p) {
        const V weight = reader[p].One(count - 1);
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) {
          V& s = sum[p * kRows + r];
          s = V::Fma(V::Set(x[r * in_features + count - 1]), weight, s);
        }
      }
    }
    blocks += PanelReader<V, D>::kBytes;
    x += kQuantBlock;
  }
#pragma GCC unroll 8
  for (int p = 0; p < kPanels; ++p) {
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) Finish(args, sum[p * kRows + r], r, panel + p);
  }
}

template <class V, DType D, int kRows, int kPanels>
void FusedPanels(const LinearArgs& args, int64_t begin, int64_t end) {
  int64_t panel = begin;
  for (; panel + kPanels <= end; panel += kPanels) FusedTile<V, D, kRows, kPanels>(args, panel);
  if (panel < end) FusedTile<V, D, kRows, 1>(args, panel);
}

// Restores `count` k of a panel, beginning at a block, to float32 [k][kPanel].
template <class V, DType D>
void RestorePanel(const uint8_t* block, int count, float* out) {
  for (int k0 = 0; k0 < count; k0 += kQuantBlock) {
    PanelReader<V, D> reader;
    reader.Begin(block);
    block += PanelReader<V, D>::kBytes;
    const int in_block = count - k0 < kQuantBlock ? count - k0 : kQuantBlock;
    for (int i = 0; i < in_block / 2; ++i, out += 2 * kPanel) {
      V first, second;
      reader.Pair(i, first, second);
      first.Store(out);
      second.Store(out + kPanel);
    }
    if (in_block % 2 != 0) {
      reader.One(in_block - 1).Store(out);
      out += kPanel;
    }
  }
}

// partial[r] += x[r] times `count` restored k of a panel, in registers. `from_zero`: partial holds
// nothing yet.
template <class V, int kRows>
void Tile(const float* x, int64_t stride, const float* weights, int count, bool from_zero,
          float* partial) {
  V sum[kRows];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) sum[r] = from_zero ? V::Zero() : V::Load(partial + r * kPanel);
  for (int k = 0; k < count; ++k) {
    const V weight = V::Load(weights + k * kPanel);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) sum[r] = V::Fma(V::Set(x[r * stride + k]), weight, sum[r]);
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) sum[r].Store(partial + r * kPanel);
}

template <class V, int kRows = V::kTileRows>
void TileOf(int rows, const float* x, int64_t stride, const float* weights, int count,
            bool from_zero, float* partial) {
  if constexpr (kRows > 1) {
    if (rows < kRows) {
      return TileOf<V, kRows - 1>(rows, x, stride, weights, count, from_zero, partial);
    }
  }
  Tile<V, kRows>(x, stride, weights, count, from_zero, partial);
}

// Up to kRowBlock rows times one panel: each chunk of the panel is restored once and meets all rows
// while it is in the first-level cache.
template <class V, DType D>
void RowBlock(const LinearArgs& args, int64_t row_begin, int rows, int64_t panel,
              LinearScratch& scratch) {
  const int64_t in_features = args.in_features;
  const uint8_t* blocks = args.panels + panel * args.panel_bytes;
  const int tiles = (rows + V::kTileRows - 1) / V::kTileRows;
  for (int64_t k0 = 0; k0 < in_features; k0 += kKChunk) {
    const int count = in_features - k0 < kKChunk ? static_cast<int>(in_features - k0) : kKChunk;
    const float* weights = scratch.weights;
    if constexpr (D == DType::kF32) {
      weights = reinterpret_cast<const float*>(blocks);  // as they are
    } else {
      RestorePanel<V, D>(blocks, count, scratch.weights);
    }
    blocks += kKChunk / kQuantBlock * PanelReader<V, D>::kBytes;
    for (int tile = 0; tile < tiles; ++tile) {
      // Tiles of equal height: a tile of one row would wait for the latency of its sums.
      const int first = rows * tile / tiles;
      const int last = rows * (tile + 1) / tiles;
      TileOf<V>(last - first, args.x + (row_begin + first) * in_features + k0, in_features, weights,
                count, k0 == 0, scratch.partial + first * kPanel);
    }
  }
  for (int r = 0; r < rows; ++r) {
    Finish(args, V::Load(scratch.partial + r * kPanel), row_begin + r, panel);
  }
}

template <class V, DType D>
void LinearAs(const LinearArgs& args, int64_t begin, int64_t end, LinearScratch& scratch) {
  if (args.rows == 1) return FusedPanels<V, D, 1, 2>(args, begin, end);
  if (args.rows == 2) return FusedPanels<V, D, 2, 2>(args, begin, end);
  if constexpr (D != DType::kQ4_1) {  // whose scales and minima leave no registers for more sums
    if (args.rows == 3) return FusedPanels<V, D, 3, 1>(args, begin, end);
    if (args.rows == 4) return FusedPanels<V, D, 4, 1>(args, begin, end);
  }
  const int64_t panels = (args.out_features + kPanel - 1) / kPanel;
  for (int64_t item = begin; item < end; ++item) {
    const int64_t row = item / panels * kRowBlock;
    const int rows = args.rows - row < kRowBlock ? static_cast<int>(args.rows - row) : kRowBlock;
    RowBlock<V, D>(args, row, rows, item % panels, scratch);
  }
}

template <class V>
void Linear(const LinearArgs& args, int64_t begin, int64_t end, LinearScratch& scratch) {
  switch (args.dtype) {
    case DType::kF32:
      return LinearAs<V, DType::kF32>(args, begin, end, scratch);
    case DType::kF16:
      return LinearAs<V, DType::kF16>(args, begin, end, scratch);
    case DType::kBf16:
      return LinearAs<V, DType::kBf16>(args, begin, end, scratch);
    case DType::kQ8_0:
      return LinearAs<V, DType::kQ8_0>(args, begin, end, scratch);
    case DType::kQ4_1:
      return LinearAs<V, DType::kQ4_1>(args, begin, end, scratch);
    case DType::kI8:
    case DType::kFp8:
      break;  // PackedWeight has none of them
  }
}

}  // namespace lckv::cpu
