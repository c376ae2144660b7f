// engine/ops/cuda/blas.h on the host: every sum in double precision (integers exactly), rounded
// once.

#include <cstdio>
#include <cstring>

#include "engine/ops/cuda/blas.h"
#include "engine/ops/cuda/device.cuh"
#include "tests/simt/stream.h"

namespace lckv::gpu {

struct Blas {};

namespace {

double ValueOf(const void* values, DType dtype, int64_t index) {
  switch (dtype) {
    case DType::kI8:
      return static_cast<double>(static_cast<const int8_t*>(values)[index]);
    case DType::kFp8:
      return static_cast<double>(device::E4m3ToF32(static_cast<const uint8_t*>(values)[index]));
    default:
      return static_cast<double>(device::Bf16ToF32(static_cast<const uint16_t*>(values)[index]));
  }
}

}  // namespace

int BlasOpen(void* /*workspace*/, size_t /*workspace_bytes*/, Blas** blas) {
  *blas = new Blas;
  return 0;
}

void BlasClose(Blas* blas) { delete blas; }

int BlasChoose(Blas* /*blas*/, const BlasShape& /*shape*/, int32_t rows, bool free,
               BlasAlgorithm* algorithm) {
  *algorithm = {};
  std::snprintf(algorithm->text, sizeof(algorithm->text), "host, for %d rows%s", rows,
                free ? ", free" : "");
  return 0;
}

namespace {

void Multiply(const BlasProduct& product) {
  const BlasShape& shape = product.shape;
  for (int64_t r = 0; r < product.rows; ++r) {
    for (int64_t o = 0; o < shape.out_features; ++o) {
      double sum = 0;
      for (int64_t k = 0; k < shape.in_features; ++k) {
        sum += ValueOf(product.weight, shape.dtype, o * shape.pitch + k) *
               ValueOf(product.x, shape.dtype, r * shape.x_pitch + k);
      }
      const int64_t index = r * shape.out_features + o;
      if (shape.dtype == DType::kI8) {
        static_cast<int32_t*>(product.sums)[index] = static_cast<int32_t>(sum);
      } else {
        float& out = static_cast<float*>(product.sums)[index];
        out = static_cast<float>(product.accumulate ? double{out} + sum : sum);
      }
    }
  }
}

}  // namespace

int BlasRun(Blas* /*blas*/, const BlasAlgorithm& /*algorithm*/, const BlasProduct& product,
            Stream stream) {
  return simt::Enqueue(stream, [product] {
    Multiply(product);
    return 0;
  });
}

const char* BlasErrorText(int /*code*/) { return "simulated product failed"; }

const char* BlasVersion() { return "host"; }

}  // namespace lckv::gpu
