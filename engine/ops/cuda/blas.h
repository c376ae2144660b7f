#pragma once

// The few calls that products.h makes of cuBLASLt; cublas.cc makes them of the real one, the
// simulated GPU computes them on the host. Each returns 0 or an error code that BlasErrorText
// explains.

#include <cstddef>
#include <cstdint>

#include "engine/ops/cuda/kernels.h"
#include "engine/tensor/dtype_enum.h"

namespace lckv::gpu {

struct Blas;

// sums[r][o] (+)= sum over k of weight[o][k] * x[r][k]. Both factors are values of `dtype`:
//   kBf16: float32 sums; kFp8: E4M3 values, float32 sums; kI8: int8 values, int32 sums (exact).
// weight [out_features][pitch], x [rows][x_pitch] (pitches in values); sums [rows][out_features].
struct BlasShape {
  DType dtype;
  int32_t out_features;
  int32_t in_features;
  int64_t pitch;
  int64_t x_pitch;
};
struct BlasProduct {
  BlasShape shape;
  const void* weight;
  const void* x;
  void* sums;
  int32_t rows;
  bool accumulate;  // kBf16, kFp8
};

// How a product is computed: cuBLASLt's description of a kernel and its settings.
struct BlasAlgorithm {
  uint64_t opaque[8];
  char text[96];  // for the log
};

// `workspace`: device memory that products may use, as long as the Blas lives.
int BlasOpen(void* workspace, size_t workspace_bytes, Blas** blas);
void BlasClose(Blas* blas);
// Picks an algorithm that suits `rows` rows. Unless `free`, it is one that sums every output in one
// piece, so that it gives a row the same bits whatever the number of rows; which one depends on the
// library, the device and the shape only.
int BlasChoose(Blas* blas, const BlasShape& shape, int32_t rows, bool free,
               BlasAlgorithm* algorithm);
int BlasRun(Blas* blas, const BlasAlgorithm& algorithm, const BlasProduct& product, Stream stream);

// Codes of this file start here; those below are the CUDA runtime's.
inline constexpr int kBlasErrors = 100000;
const char* BlasErrorText(int code);  // static
// Part of the numerics class: "cublaslt-130100".
const char* BlasVersion();

}  // namespace lckv::gpu
