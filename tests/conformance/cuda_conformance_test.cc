// The CUDA backend over the table that every backend passes.

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "tests/conformance/backend_checks.h"
#include "tests/conformance/test_gpu.h"

namespace lckv::testing {
namespace {

class CudaConformanceTest : public ::testing::TestWithParam<DType> {
 protected:
  void SetUp() override { ASSERT_NE(backend_, nullptr); }
  void TearDown() override {
    if (backend_ != nullptr) {
      EXPECT_OK(backend_->Synchronize());
    }
  }
  const std::unique_ptr<Backend> backend_ = OpenTestGpu(GetParam());
};

TEST_P(CudaConformanceTest, AgreesWithReference) { ExpectAgreesWithReference(*backend_); }

TEST_P(CudaConformanceTest, BatchDoesNotChangeBits) { ExpectBatchDoesNotChangeBits(*backend_); }

TEST_P(CudaConformanceTest, RopeAndStoreIsItsParts) { ExpectRopeAndStoreIsItsParts(*backend_); }

TEST_P(CudaConformanceTest, PagesDoNotChangeAttention) {
  ExpectPagesDoNotChangeAttention(*backend_, 13);
}

// Shapes as models have them, through whatever the library has pinned for them: a row's bits in
// batches of 1 to 256.
TEST_P(CudaConformanceTest, ProductsDoNotDependOnTheBatch) {
  constexpr int kRows = 256;
  std::vector<DType> formats = {DType::kBf16, DType::kI8, DType::kFp8, DType::kQ4_1};
  if (GetParam() == DType::kF32) formats = {DType::kF32};
  for (const DType format : formats) {
    const auto op_case = MakeLinearCase({format, 256, 192, kRows, false, true, GetParam()});
    const std::vector<float> all = RunAll(*op_case, *backend_).values;
    const size_t size = all.size() / kRows;
    for (int batch = 1; batch <= kRows; batch += batch < 20 ? 1 : 31) {
      const int begin = (batch * 37) % (kRows - batch + 1);
      const auto first = all.begin() + static_cast<int64_t>(size) * begin;
      ExpectSameBits(op_case->Describe() + ", batch of " + std::to_string(batch),
                     {first, first + static_cast<int64_t>(size) * batch},
                     op_case->Run(*backend_, begin, begin + batch).values);
    }
  }
}

// All rows by themselves, split or not as their number says, and a few beside runs of rows.
TEST_P(CudaConformanceTest, AttentionHasTheSameBitsInEveryForm) {
  if (GetParam() != DType::kBf16) return;  // one form only
  for (AttentionSpec spec : Bf16AttentionSpecs()) {
    const std::vector<float> in_runs = RunAll(*MakeAttentionCase(spec), *backend_).values;
    for (int decode_rows : {1000, 1, 3}) {
      spec.decode_rows = decode_rows;
      const auto op_case = MakeAttentionCase(spec);
      ExpectSameBits(op_case->Describe(), in_runs, RunAll(*op_case, *backend_).values);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Activations, CudaConformanceTest,
                         ::testing::Values(DType::kF32, DType::kBf16),
                         [](const auto& info) { return std::string(Name(info.param)); });

}  // namespace
}  // namespace lckv::testing
