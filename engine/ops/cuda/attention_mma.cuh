#pragma once

// Attention over bf16 K/V on the tensor cores: what all its kernels do alike, so that a row gets
// the same bits from each of them.
//
// Keys go in chunks of kChunk positions that start at multiples of kChunk. For a chunk, a row of
// the product (one query head of one batch row) gets
//   scores   s = q . K in base 2, q * (scale * log2 e) rounded to bf16, 16 components at a time,
//   largest  m = max s over the positions it sees,
//   weights  w = 2^(s - m), their float32 sum in one fixed order, then rounded to bf16,
//   sums     o = w V, from zero, 16 positions at a time;
// chunks are joined in ascending order (Join).
//
// A warp multiplies tiles of kTileRows rows. Of its results lane l holds rows l / 4 and l / 4 + 8:
// arrays with [2] have one value for each, in this order.

#include "engine/ops/cuda/device.cuh"
#include "engine/ops/cuda/mma.cuh"
#include "engine/ops/cuda/reduce.cuh"
#include "engine/ops/kv_address.h"
#include "engine/ops/op_params.h"

namespace lckv::gpu {

inline constexpr int32_t kMmaThreads = 128;
inline constexpr int32_t kMmaWarps = kMmaThreads / kWarp;
inline constexpr int32_t kChunk = 64;
inline constexpr int32_t kTileRows = 16;
inline constexpr int32_t kKeyTiles = kChunk / 8;   // of a product's columns
inline constexpr int32_t kKeySteps = kChunk / 16;  // of a product's inner dimension
inline constexpr float kMinusInfinity = -__builtin_huge_valf();
inline constexpr float kLog2E = 1.44269504088896340736f;

// K and V of a chunk lie in shared memory as [kChunk][kPitch] bf16 each. kPitch is an odd number of
// 16-byte pieces, so that the 8 rows which ldmatrix reads at once lie in different banks. Two
// chunks: 4 * 64 * (head_dim + 8) * 2 bytes, 69632 for 128 and 36864 for 64.
template <int32_t kDim>
inline constexpr int32_t kPitch = kDim + 8;
template <int32_t kDim>
inline constexpr int32_t kPlane = kChunk* kPitch<kDim>;  // values of K or V
template <int32_t kDim>
inline constexpr size_t kMmaSharedBytes = size_t{4} * kPlane<kDim> * sizeof(uint16_t);

// The K/V of one kv head of one sequence, of which the positions that `range` sees are read.
struct KvSource {
  const KvTable* table;
  KvRange range;
  int32_t kv_head;
};

// The key of `position`; null: not to be read.
LCKV_DEVICE inline const uint8_t* KeyOf(const KvShape& shape, const KvSource& source,
                                        int32_t position) {
  if (!source.range.Sees(position)) return nullptr;
  return KvKey(KvPage(*source.table, shape, position), shape, source.kv_head, position,
               sizeof(uint16_t));
}

// Begins to copy K and V of a chunk to `chunk`, all threads of the block together; zeros for what
// is not to be read. keys: the kChunk addresses.
template <int32_t kDim>
LCKV_DEVICE void CopyChunk(device::SharedPointer<const uint8_t*> keys, int64_t value_offset_bytes,
                           device::SharedPointer<uint16_t> chunk) {
  constexpr int32_t kPieces = kDim / 8;  // of 16 bytes
  // Neighbouring threads take neighbouring pieces of a position, eight where that comes out even.
  constexpr int32_t kTogether = kPieces % 8 == 0 ? 8 : kPieces % 4 == 0 ? 4 : 2;
  constexpr int32_t kAtOnce = kMmaThreads / kTogether;
  const auto thread = static_cast<int32_t>(threadIdx.x);
  const int32_t offset = thread % kTogether * 8;
  LCKV_UNROLL
  for (int32_t first = 0; first < kChunk; first += kAtOnce) {
    const int32_t slot = first + thread / kTogether;
    const uint8_t* const key = keys[slot];
    const device::SharedPointer<uint16_t> to = chunk + (slot * kPitch<kDim> + offset);
    LCKV_UNROLL
    for (int32_t i = 0; i < kPieces * 8; i += kTogether * 8) {
      if (key != nullptr) {
        const uint8_t* const from = key + (offset + i) * int32_t{sizeof(uint16_t)};
        device::CopyAsync16(to + i, from);
        device::CopyAsync16(to + (kPlane<kDim> + i), from + value_offset_bytes);
      } else {
        device::Store16(to + i, device::Vec16{});
        device::Store16(to + (kPlane<kDim> + i), device::Vec16{});
      }
    }
  }
  device::CopyAsyncCommit();
}

// consume(n, chunk) for chunks n = begin … end - 1 of `chunks`, in order, `chunk` being its K and V
// in shared memory. The next one is copied meanwhile. All threads of the block call; `keys` has
// room for 2 * kChunk addresses, `tiles` for kMmaSharedBytes.
template <int32_t kDim, typename Consume>
LCKV_DEVICE void ForEachChunk(const KvShape& shape, const KvSource& source, const KvChunks& chunks,
                              int32_t begin, int32_t end,
                              device::SharedPointer<const uint8_t*> keys,
                              device::SharedPointer<uint16_t> tiles, const Consume& consume) {
  const auto thread = static_cast<int32_t>(threadIdx.x);
  const auto key_of = [&](int32_t n) -> const uint8_t* {
    if (thread >= kChunk || n >= end) return nullptr;
    return KeyOf(shape, source, chunks.At(n, kChunk) + thread);
  };
  const auto copy = [&](int32_t n) {
    const int32_t half = (n - begin) % 2;
    CopyChunk<kDim>(keys + half * kChunk, shape.value_offset_bytes,
                    tiles + half * 2 * kPlane<kDim>);
  };
  if (begin >= end) return;
  const uint8_t* const first_key = key_of(begin);
  const uint8_t* const second_key = key_of(begin + 1);
  if (thread < kChunk) {
    keys[thread] = first_key;
    keys[kChunk + thread] = second_key;
  }
  __syncthreads();
  copy(begin);
  for (int32_t n = begin; n < end; ++n) {
    const int32_t half = (n - begin) % 2;
    const uint8_t* const key = key_of(n + 2);
    device::CopyAsyncWait<0>();
    // The chunk is there for all, and all are done with the one before and with its own keys.
    __syncthreads();
    if (thread < kChunk) keys[half * kChunk + thread] = key;
    if (n + 1 < end) copy(n + 1);
    consume(n, tiles + half * 2 * kPlane<kDim>);
  }
}

// The queries of a block's product: row_at(i) is where row i of `rows` has its own [head_dim], null
// for zeros; a warp gets those of the tile that begins with row `first`. All threads call;
// `staging`, shared memory for rows * kPitch values, is theirs again after a barrier.
template <int32_t kDim, typename RowAt>
LCKV_DEVICE void LoadQueries(int32_t rows, const RowAt& row_at, int32_t first, float scale,
                             device::SharedPointer<uint16_t> staging,
                             uint32_t (&queries)[kDim / 16][4]) {
  constexpr int32_t kPairs = kDim / 2;
  const auto thread = static_cast<int32_t>(threadIdx.x);
  const float factor = device::Mul(scale, kLog2E);
  for (int32_t i = thread; i < rows * kPairs; i += kMmaThreads) {
    const int32_t column = i % kPairs * 2;
    const float* const row = row_at(i / kPairs);
    const uint32_t pair = row == nullptr ? 0
                                         : device::PackBf16(device::Mul(row[column], factor),
                                                            device::Mul(row[column + 1], factor));
    device::SharedAs<uint32_t>(staging + (i / kPairs * kPitch<kDim> + column))[0] = pair;
  }
  __syncthreads();
  const int32_t lane = thread % kWarp;
  LCKV_UNROLL
  for (int32_t k = 0; k < kDim / 16; ++k) {
    device::LoadMatrices(queries[k],
                         staging + ((first + lane % 16) * kPitch<kDim> + k * 16 + lane / 16 * 8));
  }
}

// scores [16 rows][kChunk] = queries . keys.
template <int32_t kDim>
LCKV_DEVICE void Scores(const uint32_t (&queries)[kDim / 16][4],
                        device::SharedPointer<const uint16_t> keys, float (&scores)[kKeyTiles][4]) {
  const int32_t lane = static_cast<int32_t>(threadIdx.x) % kWarp;
  // Two tiles of 8 keys at once, both halves of 16 components each.
  const device::SharedPointer<const uint16_t> from =
      keys + ((lane / 16 * 8 + lane % 8) * kPitch<kDim> + lane / 8 % 2 * 8);
  LCKV_UNROLL
  for (int32_t n = 0; n < kKeyTiles; ++n) {
    for (int32_t i = 0; i < 4; ++i) scores[n][i] = 0;
  }
  LCKV_UNROLL
  for (int32_t k = 0; k < kDim / 16; ++k) {
    LCKV_UNROLL
    for (int32_t n = 0; n < kKeyTiles; n += 2) {
      uint32_t matrices[4];
      device::LoadMatrices(matrices, from + (n * 8 * kPitch<kDim> + k * 16));
      device::MultiplyBf16(scores[n], queries[k], {matrices[0], matrices[1]});
      device::MultiplyBf16(scores[n + 1], queries[k], {matrices[2], matrices[3]});
    }
  }
}

LCKV_DEVICE inline bool SeesAny(const KvRange& range, int32_t first) {
  return range.sinks > first ||
         (range.begin < range.end && range.begin < first + kChunk && range.end > first);
}
LCKV_DEVICE inline bool SeesAll(const KvRange& range, int32_t first) {
  return range.sinks >= first + kChunk || (range.begin <= first && range.end >= first + kChunk);
}

// Scores of positions that a row does not see become minus infinity.
LCKV_DEVICE inline void Mask(const KvRange (&ranges)[2], int32_t first,
                             float (&scores)[kKeyTiles][4]) {
  const int32_t column = first + static_cast<int32_t>(threadIdx.x) % 4 * 2;
  LCKV_UNROLL
  for (int32_t half = 0; half < 2; ++half) {
    // Relative to the lane's first column: the compiler then compares with constants.
    const int32_t begin = ranges[half].begin - column;
    const int32_t end = ranges[half].end - column;
    const int32_t sinks = ranges[half].sinks - column;
    LCKV_UNROLL
    for (int32_t i = 0; i < 2 * kKeyTiles; ++i) {
      const int32_t place = i / 2 * 8 + i % 2;
      const bool in_window = place >= begin && place < end;
      float& score = scores[i / 2][2 * half + i % 2];
      score = in_window || place < sinks ? score : kMinusInfinity;
    }
  }
}

// A chunk's softmax for the rows of a lane. Scores that are all minus infinity have weight 0.
struct ChunkSoftmax {
  float largest[2];
  float total[2];
  uint32_t weights[kKeySteps][4];
};
LCKV_DEVICE inline void Softmax(float (&scores)[kKeyTiles][4], ChunkSoftmax& softmax) {
  LCKV_UNROLL
  for (int32_t half = 0; half < 2; ++half) {
    float largest = kMinusInfinity;
    LCKV_UNROLL
    for (int32_t n = 0; n < kKeyTiles; ++n) {
      largest = device::Max(largest, scores[n][2 * half]);
      largest = device::Max(largest, scores[n][2 * half + 1]);
    }
    largest = device::Max(largest, device::ShuffleXor(largest, 1));
    largest = device::Max(largest, device::ShuffleXor(largest, 2));
    const float base = largest == kMinusInfinity ? 0.0f : largest;
    float total = 0;
    LCKV_UNROLL
    for (int32_t n = 0; n < kKeyTiles; ++n) {
      const float low = device::Exp2(device::Sub(scores[n][2 * half], base));
      const float high = device::Exp2(device::Sub(scores[n][2 * half + 1], base));
      total = device::Add(total, device::Add(low, high));
      softmax.weights[n / 2][n % 2 * 2 + half] = device::PackBf16(low, high);
    }
    total = device::Add(total, device::ShuffleXor(total, 1));
    total = device::Add(total, device::ShuffleXor(total, 2));
    softmax.largest[half] = largest;
    softmax.total[half] = total;
  }
}

// sums [16 rows][8] = weights . columns [8 tile, 8 tile + 8) of the values.
template <int32_t kDim>
LCKV_DEVICE void Values(const uint32_t (&weights)[kKeySteps][4],
                        device::SharedPointer<const uint16_t> values, int32_t tile,
                        float (&sums)[4]) {
  const int32_t lane = static_cast<int32_t>(threadIdx.x) % kWarp;
  for (int32_t i = 0; i < 4; ++i) sums[i] = 0;
  LCKV_UNROLL
  for (int32_t k = 0; k < kKeySteps; k += 2) {
    uint32_t matrices[4];
    device::LoadMatricesTransposed(matrices, values + ((k * 16 + lane) * kPitch<kDim> + tile * 8));
    device::MultiplyBf16(sums, weights[k], {matrices[0], matrices[1]});
    device::MultiplyBf16(sums, weights[k + 1], {matrices[2], matrices[3]});
  }
}

// The softmax over all chunks so far of one row, whose sums the caller keeps.
struct RunningSoftmax {
  float largest = kMinusInfinity;
  float total = 0;
};
// How the sums so far and a chunk's enter the new ones.
struct Shares {
  float keep = 1;
  float add = 0;
};
// A chunk in which the row sees nothing (largest: minus infinity, total and sums: 0) changes no
// bit, except that a sum of -0 becomes 0: Output() knows one zero only. So it may be left out.
LCKV_DEVICE inline Shares Join(RunningSoftmax& running, float largest, float total) {
  if (largest == kMinusInfinity) return {};
  const float now = device::Max(running.largest, largest);
  const Shares shares = {device::Exp2(device::Sub(running.largest, now)),
                         device::Exp2(device::Sub(largest, now))};
  running.total = device::Fma(running.total, shares.keep, device::Mul(total, shares.add));
  running.largest = now;
  return shares;
}
LCKV_DEVICE inline float Joined(float sum, const Shares& shares, float chunk_sum) {
  return device::Fma(sum, shares.keep, device::Mul(chunk_sum, shares.add));
}

// What a row's sums are divided by in the end, as a factor; nothing visible: zero.
LCKV_DEVICE inline float Inverse(float total) {
  return total == 0.0f ? 0.0f : device::Div(1.0f, total);
}
LCKV_DEVICE inline float Output(float sum, float inverse) {
  return device::Fma(sum, inverse, 0.0f);
}

}  // namespace lckv::gpu
