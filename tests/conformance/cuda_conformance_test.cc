// The CUDA backend over a library given by $LCKV_GPU_LIBRARY (default: the simulated GPU): the same
// table as every backend.

#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>

#include "engine/ops/cuda/cuda_backend.h"
#include "engine/ops/cuda/gpu_library.h"
#include "tests/conformance/backend_checks.h"
#include "tests/testing/status_matchers.h"

namespace lckv::testing {
namespace {

class CudaConformanceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const char* library = std::getenv("LCKV_GPU_LIBRARY");
    ASSERT_OK_AND_ASSIGN(const gpu::GpuApi* api,
                         OpenGpuLibrary(library == nullptr ? LCKV_CUDA_SIM_LIBRARY : library));
    ASSERT_OK_AND_ASSIGN(backend_, MakeCudaBackend(api, 0));
  }
  void TearDown() override {
    if (backend_ != nullptr) {
      EXPECT_OK(backend_->Synchronize());
    }
  }
  std::unique_ptr<Backend> backend_;
};

TEST_F(CudaConformanceTest, AgreesWithReference) { ExpectAgreesWithReference(*backend_); }

TEST_F(CudaConformanceTest, BatchDoesNotChangeBits) { ExpectBatchDoesNotChangeBits(*backend_); }

TEST_F(CudaConformanceTest, PagesDoNotChangeAttention) {
  ExpectPagesDoNotChangeAttention(*backend_, 13);
}

}  // namespace
}  // namespace lckv::testing
