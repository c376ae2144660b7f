#pragma once

// Matrix products of bf16 rows on tensor cores, part of the GPU library (the real one and the
// simulated one). By the weight's format:
//   kBf16        bf16 x bf16, float32 sums
//   kFp8, kI8    each row of x is quantised to the weight's format with a scale of its own (largest
//                magnitude / 448 or 127), so that out = sum * row scale * weight scale (+ bias)
//   kQ8_0, kQ4_1 bf16 x bf16, float32 sums, the weight restored on the way (linear_mma.cu)
//   others       the general kernel (linear.cu), which restores the weight to float32
//
// Batch-invariant: for every (format, out_features, in_features) one algorithm is pinned when the
// weight is prepared; it sums each output in one piece, so that a row's bits do not depend on the
// other rows. `fast` lets every number of rows have its own algorithm; then they do.
//
// One thread at a time. Memory: two areas given at creation; nothing grows but the table of
// algorithms (one entry a shape, at start).

#include <cstddef>
#include <cstdint>
#include <vector>

#include "engine/ops/cuda/blas.h"
#include "engine/ops/cuda/gpu_api.h"
#include "engine/ops/cuda/kernels.h"

namespace lckv::gpu {

class Products {
 public:
  // Device memory that a GPU library gives to a Products.
  static constexpr size_t kWorkspaceBytes = size_t{32} << 20;  // cuBLASLt's
  static constexpr size_t kScratchBytes = size_t{64} << 20;    // quantised rows and their sums

  Products(Blas* blas, void* scratch, bool fast)
      : blas_(blas), scratch_(static_cast<uint8_t*>(scratch)), fast_(fast) {}
  Products(const Products&) = delete;
  Products& operator=(const Products&) = delete;
  ~Products() { BlasClose(blas_); }

  // Pins the algorithm for weights of this format and shape. `text`: what was pinned, for the log;
  // "" if it was known before or the format needs none.
  int Prepare(const Weight& weight, char* text, size_t text_bytes);
  // args.rows > 0; bf16 rows go through the pinned algorithm, float32 rows through the general
  // kernel.
  int Run(const LinearArgs& args, Stream stream);

 private:
  struct Pinned {
    BlasShape shape;
    int32_t rows;  // that it was chosen for
    BlasAlgorithm algorithm;
  };

  const Pinned* Find(const BlasShape& shape, int32_t rows) const;
  int Pin(const BlasShape& shape, int32_t rows, const Pinned** pinned);
  int RunBf16(const LinearArgs& args, Stream stream);
  int RunQuantized(const LinearArgs& args, Stream stream);

  Blas* const blas_;
  uint8_t* const scratch_;
  const bool fast_;
  std::vector<Pinned> pinned_;
};

}  // namespace lckv::gpu
