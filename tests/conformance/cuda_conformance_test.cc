// The CUDA backend over the table that every backend passes.

#include <gtest/gtest.h>

#include <memory>

#include "tests/conformance/backend_checks.h"
#include "tests/conformance/test_gpu.h"

namespace lckv::testing {
namespace {

class CudaConformanceTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_NE(backend_, nullptr); }
  void TearDown() override {
    if (backend_ != nullptr) {
      EXPECT_OK(backend_->Synchronize());
    }
  }
  const std::unique_ptr<Backend> backend_ = OpenTestGpu();
};

TEST_F(CudaConformanceTest, AgreesWithReference) { ExpectAgreesWithReference(*backend_); }

TEST_F(CudaConformanceTest, BatchDoesNotChangeBits) { ExpectBatchDoesNotChangeBits(*backend_); }

TEST_F(CudaConformanceTest, PagesDoNotChangeAttention) {
  ExpectPagesDoNotChangeAttention(*backend_, 13);
}

}  // namespace
}  // namespace lckv::testing
