// blas.h over cuBLASLt. Row-major matrices are column-major ones transposed: with the weight as A
// (transposed) and x as B, the result D has out_features rows and one column for each row of x.

#include <cublasLt.h>
#include <cuda_runtime.h>

#include <cstdio>
#include <cstring>
#include <new>

#include "engine/ops/cuda/blas.h"

namespace lckv::gpu {

struct Blas {
  cublasLtHandle_t handle = nullptr;
  void* workspace = nullptr;
  size_t workspace_bytes = 0;
};

namespace {

// Looked at, best first, until one sums in one piece.
constexpr int kCandidates = 32;

int Code(cublasStatus_t status) {
  return status == CUBLAS_STATUS_SUCCESS ? 0 : kBlasErrors + static_cast<int>(status);
}

struct Types {
  cudaDataType_t factor;
  cudaDataType_t sum;
  cublasComputeType_t compute;
  size_t factor_bytes;
};

Types TypesOf(DType dtype) {
  switch (dtype) {
    case DType::kI8:
      return {CUDA_R_8I, CUDA_R_32I, CUBLAS_COMPUTE_32I, 1};
    case DType::kFp8:
      return {CUDA_R_8F_E4M3, CUDA_R_32F, CUBLAS_COMPUTE_32F, 1};
    default:
      return {CUDA_R_16BF, CUDA_R_32F, CUBLAS_COMPUTE_32F, 2};
  }
}

// Descriptors of one product. They own nothing: the opaque structs lie in this object.
class Operation {
 public:
  Operation(const BlasShape& shape, int32_t rows) : types_(TypesOf(shape.dtype)) {
    const cublasOperation_t transposed = CUBLAS_OP_T;
    Note(cublasLtMatmulDescInit(&operation, types_.compute, types_.sum));
    Note(cublasLtMatmulDescSetAttribute(&operation, CUBLASLT_MATMUL_DESC_TRANSA, &transposed,
                                        sizeof(transposed)));
    const auto k = static_cast<uint64_t>(shape.in_features);
    const auto n = static_cast<uint64_t>(shape.out_features);
    Note(cublasLtMatrixLayoutInit(&weight, types_.factor, k, n, shape.pitch));
    Note(
        cublasLtMatrixLayoutInit(&x, types_.factor, k, static_cast<uint64_t>(rows), shape.x_pitch));
    Note(cublasLtMatrixLayoutInit(&sums, types_.sum, n, static_cast<uint64_t>(rows),
                                  shape.out_features));
  }
  cublasStatus_t status() const { return status_; }
  const Types& types() const { return types_; }

  cublasLtMatmulDescOpaque_t operation;
  cublasLtMatrixLayoutOpaque_t weight, x, sums;

 private:
  void Note(cublasStatus_t status) {
    if (status_ == CUBLAS_STATUS_SUCCESS) status_ = status;
  }
  const Types types_;
  cublasStatus_t status_ = CUBLAS_STATUS_SUCCESS;
};

// The largest power of two up to 256 that divides `bytes`.
uint32_t AlignmentOf(int64_t bytes) {
  uint32_t alignment = 256;
  while (bytes % alignment != 0) alignment /= 2;
  return alignment;
}

template <typename T>
T ConfigOf(const cublasLtMatmulAlgo_t& algorithm, cublasLtMatmulAlgoConfigAttributes_t attribute) {
  T value = {};
  size_t written = 0;
  cublasLtMatmulAlgoConfigGetAttribute(&algorithm, attribute, &value, sizeof(value), &written);
  return value;
}

bool SumsInOnePiece(const cublasLtMatmulAlgo_t& algorithm) {
  return ConfigOf<int32_t>(algorithm, CUBLASLT_ALGO_CONFIG_SPLITK_NUM) <= 1 &&
         ConfigOf<uint32_t>(algorithm, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME) ==
             CUBLASLT_REDUCTION_SCHEME_NONE;
}

cublasStatus_t MakePreference(const Blas& blas, const BlasShape& shape, bool free,
                              cublasLtMatmulPreferenceOpaque_t* preference) {
  cublasStatus_t status = cublasLtMatmulPreferenceInit(preference);
  const auto set = [&](cublasLtMatmulPreferenceAttributes_t attribute, auto value) {
    if (status != CUBLAS_STATUS_SUCCESS) return;
    status = cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof(value));
  };
  set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, static_cast<uint64_t>(blas.workspace_bytes));
  if (!free) {
    set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
        static_cast<uint32_t>(CUBLASLT_REDUCTION_SCHEME_NONE));
  }
  // Rows of x and of the sums start anywhere in their buffers.
  const auto factor_bytes = static_cast<int64_t>(TypesOf(shape.dtype).factor_bytes);
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, AlignmentOf(shape.pitch * factor_bytes));
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, AlignmentOf(shape.x_pitch * factor_bytes));
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, AlignmentOf(int64_t{shape.out_features} * 4));
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, AlignmentOf(int64_t{shape.out_features} * 4));
  return status;
}

void Describe(const cublasLtMatmulAlgo_t& algorithm, char* text, size_t text_bytes) {
  std::snprintf(text, text_bytes,
                "cuBLASLt %d, tile %u, stages %u, swizzle %u, option %u, split %d",
                ConfigOf<int32_t>(algorithm, CUBLASLT_ALGO_CONFIG_ID),
                ConfigOf<uint32_t>(algorithm, CUBLASLT_ALGO_CONFIG_TILE_ID),
                ConfigOf<uint32_t>(algorithm, CUBLASLT_ALGO_CONFIG_STAGES_ID),
                ConfigOf<uint32_t>(algorithm, CUBLASLT_ALGO_CONFIG_CTA_SWIZZLING),
                ConfigOf<uint32_t>(algorithm, CUBLASLT_ALGO_CONFIG_CUSTOM_OPTION),
                ConfigOf<int32_t>(algorithm, CUBLASLT_ALGO_CONFIG_SPLITK_NUM));
}

}  // namespace

int BlasOpen(void* workspace, size_t workspace_bytes, Blas** out) {
  auto* blas = new (std::nothrow) Blas;
  if (blas == nullptr) return Code(CUBLAS_STATUS_ALLOC_FAILED);
  blas->workspace = workspace;
  blas->workspace_bytes = workspace_bytes;
  const cublasStatus_t status = cublasLtCreate(&blas->handle);
  if (status != CUBLAS_STATUS_SUCCESS) {
    delete blas;
    return Code(status);
  }
  *out = blas;
  return 0;
}

void BlasClose(Blas* blas) {
  cublasLtDestroy(blas->handle);
  delete blas;
}

int BlasChoose(Blas* blas, const BlasShape& shape, int32_t rows, bool free,
               BlasAlgorithm* algorithm) {
  Operation operation(shape, rows);
  if (operation.status() != CUBLAS_STATUS_SUCCESS) return Code(operation.status());
  cublasLtMatmulPreferenceOpaque_t preference;
  cublasStatus_t status = MakePreference(*blas, shape, free, &preference);
  if (status != CUBLAS_STATUS_SUCCESS) return Code(status);
  cublasLtMatmulHeuristicResult_t candidates[kCandidates];
  int found = 0;
  status = cublasLtMatmulAlgoGetHeuristic(blas->handle, &operation.operation, &operation.weight,
                                          &operation.x, &operation.sums, &operation.sums,
                                          &preference, kCandidates, candidates, &found);
  if (status != CUBLAS_STATUS_SUCCESS) return Code(status);
  for (int i = 0; i < found; ++i) {
    const cublasLtMatmulAlgo_t& candidate = candidates[i].algo;
    if (candidates[i].state != CUBLAS_STATUS_SUCCESS) continue;
    if (!free && !SumsInOnePiece(candidate)) continue;
    static_assert(sizeof(candidate) <= sizeof(algorithm->opaque));
    std::memcpy(algorithm->opaque, &candidate, sizeof(candidate));
    Describe(candidate, algorithm->text, sizeof(algorithm->text));
    return 0;
  }
  return Code(CUBLAS_STATUS_NOT_SUPPORTED);
}

int BlasRun(Blas* blas, const BlasAlgorithm& algorithm, const BlasProduct& product, Stream stream) {
  Operation operation(product.shape, product.rows);
  if (operation.status() != CUBLAS_STATUS_SUCCESS) return Code(operation.status());
  const bool integers = operation.types().sum == CUDA_R_32I;
  const float one = 1.0f;
  const float kept = product.accumulate ? 1.0f : 0.0f;
  const int32_t integer_one = 1;
  const int32_t integer_zero = 0;
  const void* alpha = integers ? static_cast<const void*>(&integer_one) : &one;
  const void* beta = integers ? static_cast<const void*>(&integer_zero) : &kept;
  cublasLtMatmulAlgo_t algo;
  std::memcpy(&algo, algorithm.opaque, sizeof(algo));
  return Code(cublasLtMatmul(blas->handle, &operation.operation, alpha, product.weight,
                             &operation.weight, product.x, &operation.x, beta, product.sums,
                             &operation.sums, product.sums, &operation.sums, &algo, blas->workspace,
                             blas->workspace_bytes, static_cast<cudaStream_t>(stream)));
}

const char* BlasErrorText(int code) {
  return cublasLtGetStatusString(static_cast<cublasStatus_t>(code - kBlasErrors));
}

const char* BlasVersion() {
  static char text[32];
  std::snprintf(text, sizeof(text), "cublaslt-%zu", cublasLtGetVersion());
  return text;
}

}  // namespace lckv::gpu
