// Matrix product on the tensor cores: bf16 activations times a weight that is bf16 or becomes so on
// the way from memory. Made for small batches, where the time is that of reading the weight once.
//
// Order of summation. The inputs of a weight are cut into units (64 of kQ4_1, 32 of the others),
// the units into kSlices slices of equal length, the last ones shorter. A slice is one chain of
// MultiplyBf16 over its inputs, 16 at a time in ascending order (of 32 inputs 8 j + i, i < 4, are
// one product and those with i >= 4 the next), from zero. The slices' sums are added in ascending
// order in float32, then the bias, then the sum to what `out` held. All of this follows from the
// weight's shape and format, and a product's columns do not know one another: the bits of a row do
// not depend on the others or on its place.
//
// Rounding. A weight d * q (+ m) is made in float32, to the bits of LoadWeight (d * q is exact),
// and rounded to bf16, nearest even.
//
// Shape. The weight is the tensor cores' left factor: 16 outputs by 8 rows is one product's result,
// so that 1 to 8 rows cost the same. Warp w of a block makes slice w of kM * 16 outputs for kN * 8
// rows, straight from global memory into registers: no two warps of a block read the same thing, so
// shared memory serves only to add up the slices. A lane takes inputs in runs of 8, both of the
// weight (weight_layout.h) and of x; that the tensor cores see them in another order does no harm
// as both factors have the same. kDepth units of the weight are on their way to a warp at any time,
// and one of x, which comes from the L2 cache. Blocks of the same outputs are neighbours in the
// grid, so more rows than a block has read the weight from L2 again, not from memory.

#include "engine/ops/cuda/kernels.h"
#include "engine/ops/cuda/launch.cuh"
#include "engine/ops/cuda/mma.cuh"
#include "engine/ops/cuda/reduce.cuh"
#include "engine/ops/cuda/weight_layout.h"

namespace lckv::gpu {
namespace {

using device::Vec16;

constexpr int32_t kSlices = 8;
constexpr int32_t kThreads = kSlices * kWarp;
constexpr int32_t kRows = 8;  // of one product
constexpr int32_t kRun = 8;   // inputs that a lane takes at once
// Floats from one row's partial sums to the next: lanes that write at once do so in different
// banks.
constexpr int32_t kPitch = kTileOutputs + 4;

struct LanePlace {
  int32_t lane;
  int32_t eighth;   // which of 8 outputs or rows
  int32_t quarter;  // which 8 of 32 inputs
};

// What a lane holds of 16 outputs and kUnit inputs of a weight. Step s of a unit is the product
// over 16 of its inputs; the lane's are i = 4 (s % 2), … of the run in half s / 2 of the unit, and
// of outputs `eighth` (row 0) and `eighth` + 8 (row 1).
template <DType kDType>
struct Unit;

template <>
struct Unit<DType::kQ4_1> {
  static constexpr int32_t kUnit = 64;
  Vec16 quants;  // [half][row]: 8 nibbles
  Vec16 scales;  // [half][row]: scale, minimum

  LCKV_DEVICE void Load(const Weight& weight, int32_t output, int32_t input,
                        const LanePlace& place) {
    const uint8_t* const tile = static_cast<const uint8_t*>(weight.data) +
                                TileOffset(DType::kQ4_1, weight.row_bytes, output, input);
    quants = device::LoadOnce16(tile + 16 * place.lane);
    scales = device::LoadOnce16(tile + kTileQuantBytes + 16 * place.eighth);
  }
  LCKV_DEVICE void Clear() { quants = scales = {}; }
  LCKV_DEVICE void Fragment(int32_t step, uint32_t (&a)[4]) const {
    LCKV_UNROLL
    for (int32_t row = 0; row < 2; ++row) {
      float scale;
      float minimum;
      device::UnpackF16(scales.words[step / 2 * 2 + row], scale, minimum);
      const uint32_t nibbles = quants.words[step / 2 * 2 + row] >> (16 * (step % 2));
      float values[4];
      LCKV_UNROLL
      for (int32_t i = 0; i < 4; ++i) {
        // 2^23 + q * 16^i: the nibble in its place in the last bits of a float.
        const float shifted = device::FloatOf((nibbles & 15u << 4 * i) | 0x4b000000u);
        values[i] = device::Fma(device::Sub(shifted, 0x1p23f), scale, minimum);
        scale = device::Mul(scale, 0x1p-4f);
      }
      a[row] = device::PackBf16(values[0], values[1]);
      a[row + 2] = device::PackBf16(values[2], values[3]);
    }
  }
};

template <>
struct Unit<DType::kQ8_0> {
  static constexpr int32_t kUnit = 32;
  Vec16 quants;     // [row]: 8 bytes
  uint32_t scales;  // [row]

  LCKV_DEVICE void Load(const Weight& weight, int32_t output, int32_t input,
                        const LanePlace& place) {
    const uint8_t* const tile = static_cast<const uint8_t*>(weight.data) +
                                TileOffset(DType::kQ8_0, weight.row_bytes, output, input);
    quants = device::LoadOnce16(tile + 16 * place.lane);
    scales = *reinterpret_cast<const uint32_t*>(tile + kTileQuantBytes + 4 * place.eighth);
  }
  LCKV_DEVICE void Clear() {
    quants = {};
    scales = 0;
  }
  LCKV_DEVICE void Fragment(int32_t step, uint32_t (&a)[4]) const {
    float scale[2];
    device::UnpackF16(scales, scale[0], scale[1]);
    LCKV_UNROLL
    for (int32_t row = 0; row < 2; ++row) {
      const uint32_t bytes = quants.words[2 * row + step] ^ 0x80808080u;  // q + 128
      const float high_scale = device::Mul(scale[row], 0x1p-8f);
      LCKV_UNROLL
      for (int32_t pair = 0; pair < 2; ++pair) {
        // 2^23 + q + 128 and 2^23 + 256 (q + 128), as above.
        const uint32_t two = bytes >> (16 * pair);
        const float low = device::FloatOf((two & 0xffu) | 0x4b000000u);
        const float high = device::FloatOf((two & 0xff00u) | 0x4b000000u);
        a[row + 2 * pair] =
            device::PackBf16(device::Mul(device::Sub(low, 0x1p23f + 128.0f), scale[row]),
                             device::Mul(device::Sub(high, 0x1p23f + 32768.0f), high_scale));
      }
    }
  }
};

template <>
struct Unit<DType::kBf16> {
  static constexpr int32_t kUnit = 32;
  Vec16 rows[2];

  LCKV_DEVICE void Load(const Weight& weight, int32_t output, int32_t input,
                        const LanePlace& place) {
    const int32_t first = input + kRun * place.quarter;
    LCKV_UNROLL
    for (int32_t row = 0; row < 2; ++row) {
      const int32_t o = output + place.eighth + 8 * row;
      rows[row] = {};
      if (o >= weight.out_features || first >= weight.in_features) continue;
      const uint8_t* const data = static_cast<const uint8_t*>(weight.data) + o * weight.row_bytes;
      rows[row] = device::LoadOnce16(data + 2 * static_cast<int64_t>(first));
    }
  }
  LCKV_DEVICE void Clear() { rows[0] = rows[1] = {}; }
  LCKV_DEVICE void Fragment(int32_t step, uint32_t (&a)[4]) const {
    LCKV_UNROLL
    for (int32_t row = 0; row < 2; ++row) {
      a[row] = rows[row].words[2 * step];
      a[row + 2] = rows[row].words[2 * step + 1];
    }
  }
};

// Inputs [first, first + kRun) of a row of x, zeros beyond the matrix. kVectors: x is aligned to 16
// bytes and so is every row.
template <bool kVectors>
LCKV_DEVICE Vec16 LoadRun(const LinearArgs& args, int32_t row, int32_t first) {
  Vec16 run = {};
  const int32_t size = args.weight.in_features;
  if (row >= args.rows || first >= size) return run;
  const uint16_t* const x =
      static_cast<const uint16_t*>(args.x.data) + static_cast<int64_t>(row) * size + first;
  if constexpr (kVectors) {
    run = device::Load16(x);
  } else {
    LCKV_UNROLL
    for (int32_t i = 0; i < kRun; ++i) {
      if (first + i < size) run.words[i / 2] |= uint32_t{x[i]} << (16 * (i % 2));
    }
  }
  return run;
}

// One warp's part of a product: kM tiles of 16 outputs, kN tiles of 8 rows, a slice of the inputs.
template <DType kDType, int32_t kM, int32_t kN, int32_t kDepth, bool kVectors>
class Slice {
  using WeightUnit = Unit<kDType>;
  static constexpr int32_t kUnit = WeightUnit::kUnit;
  static constexpr int32_t kHalves = kUnit / 32;
  // Halves of x that are held: the one in use, the others on their way.
  static constexpr int32_t kHeld = kN == 1 ? 4 : 2;
  static_assert(kDepth * kHalves % kHeld == 0, "a buffer's number must be a constant");

 public:
  LCKV_DEVICE Slice(const LinearArgs& args, int32_t slice, int32_t first_out, int32_t first_row)
      : args_(args), first_out_(first_out), first_row_(first_row) {
    const auto lane = static_cast<int32_t>(threadIdx.x) % kWarp;
    place_ = {lane, lane / 4, lane % 4};
    const int32_t units = (args.weight.in_features + kUnit - 1) / kUnit;
    const int32_t length = (units + kSlices - 1) / kSlices;
    begin_ = min(slice * length, units);
    end_ = min(begin_ + length, units);
  }

  // sums[m][n]: the results of MultiplyBf16.
  LCKV_DEVICE void Multiply(float (&sums)[kM][kN][4]) {
    LCKV_UNROLL
    for (int32_t d = 0; d < kDepth; ++d) LoadWeights(begin_ + d, weights_[d]);
    LCKV_UNROLL
    for (int32_t h = 0; h < kHeld - 1; ++h) LoadInputs(begin_ * kHalves + h, x_[h]);
    for (int32_t first = begin_; first < end_; first += kDepth) {
      LCKV_UNROLL
      for (int32_t d = 0; d < kDepth; ++d) {
        if (first + d >= end_) break;
        LCKV_UNROLL
        for (int32_t half = 0; half < kHalves; ++half) {
          const int32_t h = d * kHalves + half;
          LoadInputs(first * kHalves + h + kHeld - 1, x_[(h + kHeld - 1) % kHeld]);
          MultiplyHalf(weights_[d], half, x_[h % kHeld], sums);
        }
        LoadWeights(first + d + kDepth, weights_[d]);
      }
    }
  }

 private:
  LCKV_DEVICE void LoadWeights(int32_t unit, WeightUnit (&to)[kM]) {
    if (unit >= end_) return;
    LCKV_UNROLL
    for (int32_t m = 0; m < kM; ++m) {
      const int32_t output = first_out_ + kTileOutputs * m;
      if (output < args_.weight.out_features) {
        to[m].Load(args_.weight, output, unit * kUnit, place_);
      } else {
        to[m].Clear();
      }
    }
  }
  LCKV_DEVICE void LoadInputs(int32_t half, Vec16 (&to)[kN]) {
    if (half >= end_ * kHalves) return;
    LCKV_UNROLL
    for (int32_t n = 0; n < kN; ++n) {
      to[n] = LoadRun<kVectors>(args_, first_row_ + kRows * n + place_.eighth,
                                32 * half + kRun * place_.quarter);
    }
  }
  LCKV_DEVICE static void MultiplyHalf(const WeightUnit (&weights)[kM], int32_t half,
                                       const Vec16 (&x)[kN], float (&sums)[kM][kN][4]) {
    LCKV_UNROLL
    for (int32_t step = 0; step < 2; ++step) {
      LCKV_UNROLL
      for (int32_t m = 0; m < kM; ++m) {
        uint32_t a[4];
        weights[m].Fragment(2 * half + step, a);
        LCKV_UNROLL
        for (int32_t n = 0; n < kN; ++n) {
          const uint32_t b[2] = {x[n].words[2 * step], x[n].words[2 * step + 1]};
          device::MultiplyBf16(sums[m][n], a, b);
        }
      }
    }
  }

  const LinearArgs& args_;
  const int32_t first_out_;
  const int32_t first_row_;
  LanePlace place_;
  int32_t begin_;  // units
  int32_t end_;
  WeightUnit weights_[kDepth][kM];
  Vec16 x_[kHeld][kN];
};

// Adds the slices' sums of 16 outputs up and writes them. Threads take values (row, output).
template <int32_t kN, typename Shared>
LCKV_DEVICE void Finish(const LinearArgs& args, int32_t first_out, int32_t first_row,
                        const Shared& partial) {
  constexpr int32_t kValues = kN * kRows * kTileOutputs;
  for (int32_t i = static_cast<int32_t>(threadIdx.x); i < kValues; i += kThreads) {
    const int32_t row = i / kTileOutputs;
    const int32_t o = first_out + i % kTileOutputs;
    if (first_row + row >= args.rows || o >= args.weight.out_features) continue;
    float sum = partial[row * kPitch + i % kTileOutputs];
    for (int32_t slice = 1; slice < kSlices; ++slice) {
      sum = device::Add(sum, partial[(slice * kN * kRows + row) * kPitch + i % kTileOutputs]);
    }
    if (args.bias != nullptr) sum = device::Add(sum, args.bias[o]);
    float* const out =
        args.out + static_cast<int64_t>(first_row + row) * args.weight.out_features + o;
    *out = args.accumulate ? device::Add(*out, sum) : sum;
  }
}

// Block: tile of outputs, and faster, tile of rows.
template <DType kDType, int32_t kM, int32_t kN, int32_t kDepth, bool kVectors>
__global__ void __launch_bounds__(kThreads) LinearMmaKernel(LinearArgs args) {
  LCKV_SHARED(float, partial, kSlices* kN* kRows* kPitch);
  const int32_t row_tiles = (args.rows + kN * kRows - 1) / (kN * kRows);
  const auto block = static_cast<int32_t>(blockIdx.x);
  const int32_t first_out = block / row_tiles * (kM * kTileOutputs);
  const int32_t first_row = block % row_tiles * (kN * kRows);
  const int32_t slice = static_cast<int32_t>(threadIdx.x) / kWarp;

  float sums[kM][kN][4] = {};
  Slice<kDType, kM, kN, kDepth, kVectors>(args, slice, first_out, first_row).Multiply(sums);

  const int32_t output = static_cast<int32_t>(threadIdx.x) % kWarp / 4;
  const int32_t row = static_cast<int32_t>(threadIdx.x) % 4 * 2;
  LCKV_UNROLL
  for (int32_t m = 0; m < kM; ++m) {
    if (m > 0) __syncthreads();
    LCKV_UNROLL
    for (int32_t n = 0; n < kN; ++n) {
      LCKV_UNROLL
      for (int32_t i = 0; i < 4; ++i) {
        partial[((slice * kN + n) * kRows + row + i % 2) * kPitch + output + i / 2 * 8] =
            sums[m][n][i];
      }
    }
    __syncthreads();
    Finish<kN>(args, first_out + m * kTileOutputs, first_row, partial);
  }
}

template <DType kDType, int32_t kM, int32_t kN, int32_t kDepth, bool kVectors>
int LaunchTiles(const LinearArgs& args, Stream stream) {
  constexpr int32_t kOutputs = kM * kTileOutputs;
  const unsigned out_tiles =
      static_cast<unsigned>((args.weight.out_features + kOutputs - 1) / kOutputs);
  const unsigned row_tiles = static_cast<unsigned>((args.rows + kN * kRows - 1) / (kN * kRows));
  return Launch(LinearMmaKernel<kDType, kM, kN, kDepth, kVectors>, {out_tiles * row_tiles},
                {kThreads}, 0, stream, args);
}

// Tiles by the number of rows: they say who makes a value, not how.
template <DType kDType>
int LaunchFormat(const LinearArgs& args, Stream stream) {
  const bool vectors =
      args.weight.in_features % kRun == 0 && reinterpret_cast<uintptr_t>(args.x.data) % 16 == 0;
  if (!vectors) return LaunchTiles<kDType, 1, 1, 4, false>(args, stream);
  if (args.rows <= kRows) return LaunchTiles<kDType, 1, 1, 4, true>(args, stream);
  if (args.rows <= 2 * kRows) return LaunchTiles<kDType, 2, 2, 2, true>(args, stream);
  return LaunchTiles<kDType, 4, 4, 2, true>(args, stream);
}

}  // namespace

int LaunchLinearMma(const LinearArgs& args, Stream stream) {
  switch (args.weight.dtype) {
    case DType::kQ4_1:
      return LaunchFormat<DType::kQ4_1>(args, stream);
    case DType::kQ8_0:
      return LaunchFormat<DType::kQ8_0>(args, stream);
    default:
      return LaunchFormat<DType::kBf16>(args, stream);
  }
}

}  // namespace lckv::gpu
