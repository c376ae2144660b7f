#include "engine/ops/cuda/products.h"

#include <algorithm>
#include <cstdio>

namespace lckv::gpu {
namespace {

// What pinned algorithms are chosen for: between a decode batch and a chunk of input.
constexpr int32_t kPinnedRows = 256;
// Quantised rows of a piece, at most: a multiple of every tile.
constexpr int32_t kPieceRows = 4096;
constexpr int64_t kAlignment = 256;

int64_t AlignUp(int64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

enum class Path { kGeneral, kTiles, kBlas };

// The path of bf16 rows. Their number has no say: a row has the same bits in every batch only if
// all batches take the same path. (linear_mma.cu also takes kBf16.)
Path PathOf(const Weight& weight) {
  switch (weight.dtype) {
    case DType::kBf16:
    case DType::kFp8:
      return Path::kBlas;
    case DType::kI8:  // cuBLASLt's int8 products want multiples of 4
      return weight.out_features % 4 == 0 ? Path::kBlas : Path::kGeneral;
    case DType::kQ8_0:
    case DType::kQ4_1:
      return Path::kTiles;
    default:
      return Path::kGeneral;
  }
}

BlasShape ShapeOf(const Weight& weight) {
  const int64_t value_bytes = weight.dtype == DType::kBf16 ? 2 : 1;
  const int64_t pitch = weight.row_bytes / value_bytes;
  // Rows of x are dense where the transformer writes them, padded where QuantizeRows does.
  const bool quantized = weight.dtype != DType::kBf16;
  return {weight.dtype, weight.out_features,
          quantized ? static_cast<int32_t>(pitch) : weight.in_features, pitch,
          quantized ? pitch : weight.in_features};
}

bool operator==(const BlasShape& a, const BlasShape& b) {
  return a.dtype == b.dtype && a.out_features == b.out_features && a.in_features == b.in_features;
}

}  // namespace

const Products::Pinned* Products::Find(const BlasShape& shape, int32_t rows) const {
  for (const Pinned& pinned : pinned_) {
    if (pinned.shape == shape && pinned.rows == rows) return &pinned;
  }
  return nullptr;
}

int Products::Pin(const BlasShape& shape, int32_t rows, const Pinned** pinned) {
  int32_t chosen_for = kPinnedRows;
  if (fast_) {
    chosen_for = 1;
    while (chosen_for < rows) chosen_for *= 2;
  }
  *pinned = Find(shape, chosen_for);
  if (*pinned != nullptr) return 0;
  Pinned entry = {shape, chosen_for, {}};
  const int error = BlasChoose(blas_, shape, chosen_for, fast_, &entry.algorithm);
  if (error != 0) return error;
  pinned_.push_back(entry);
  *pinned = &pinned_.back();
  return 0;
}

int Products::Prepare(const Weight& weight, char* text, size_t text_bytes) {
  if (text_bytes > 0) text[0] = '\0';
  if (PathOf(weight) != Path::kBlas) return 0;
  const size_t before = pinned_.size();
  const Pinned* pinned = nullptr;
  const int error = Pin(ShapeOf(weight), kPinnedRows, &pinned);
  if (error != 0 || pinned_.size() == before) return error;
  std::snprintf(text, text_bytes, "%s", pinned->algorithm.text);
  return 0;
}

int Products::Run(const LinearArgs& args, Stream stream) {
  if (args.x.dtype != DType::kBf16) return LaunchLinear(args, stream);
  const Path path = PathOf(args.weight);
  if (path == Path::kGeneral) return LaunchLinear(args, stream);
  if (path == Path::kTiles) return LaunchLinearMma(args, stream);
  return args.weight.dtype == DType::kBf16 ? RunBf16(args, stream) : RunQuantized(args, stream);
}

int Products::RunBf16(const LinearArgs& args, Stream stream) {
  const BlasShape shape = ShapeOf(args.weight);
  const Pinned* pinned = nullptr;
  int error = Pin(shape, args.rows, &pinned);
  if (error != 0) return error;
  error =
      BlasRun(blas_, pinned->algorithm,
              {shape, args.weight.data, args.x.data, args.out, args.rows, args.accumulate}, stream);
  if (error != 0 || args.bias == nullptr) return error;
  return LaunchAddBias({args.bias, args.rows, args.weight.out_features, args.out}, stream);
}

int Products::RunQuantized(const LinearArgs& args, Stream stream) {
  const BlasShape shape = ShapeOf(args.weight);
  const Pinned* pinned = nullptr;
  int error = Pin(shape, args.rows, &pinned);
  if (error != 0) return error;
  const int32_t out_features = args.weight.out_features;
  // Scratch: scales [rows], quantised rows, sums [rows][out_features].
  const int64_t row_bytes = shape.x_pitch + (int64_t{out_features} + 1) * 4;
  const int64_t room = static_cast<int64_t>(kScratchBytes) - 3 * kAlignment;
  const auto piece = static_cast<int32_t>(std::clamp<int64_t>(room / row_bytes, 1, kPieceRows));
  for (int32_t first = 0; first < args.rows && error == 0; first += piece) {
    const int32_t rows = std::min(piece, args.rows - first);
    auto* scales = reinterpret_cast<float*>(scratch_);
    uint8_t* const values = scratch_ + AlignUp(int64_t{rows} * 4);
    uint8_t* const sums = values + AlignUp(rows * shape.x_pitch);
    const auto* x =
        static_cast<const uint16_t*>(args.x.data) + int64_t{first} * args.weight.in_features;
    error = LaunchQuantizeRows(
        {x, args.weight.dtype, rows, args.weight.in_features, shape.x_pitch, values, scales},
        stream);
    if (error != 0) break;
    error = BlasRun(blas_, pinned->algorithm, {shape, args.weight.data, values, sums, rows, false},
                    stream);
    if (error != 0) break;
    error = LaunchScaleSums(
        {sums, args.weight.dtype == DType::kI8, scales, args.weight.scales, args.bias, rows,
         out_features, args.accumulate, args.out + int64_t{first} * out_features},
        stream);
  }
  return error;
}

}  // namespace lckv::gpu
