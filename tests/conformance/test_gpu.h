#pragma once

// The GPU of a test binary. Tests that run on every backend are compiled once for the CPU and once
// for a GPU (LCKV_TEST_GPU_LIBRARY names its library, $LCKV_GPU_LIBRARY another one).

#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <utility>

#include "engine/ops/backend.h"
#include "engine/ops/cuda/cuda_backend.h"
#include "engine/ops/cuda/gpu_library.h"
#include "tests/testing/status_matchers.h"

namespace lckv::testing {

#ifdef LCKV_TEST_GPU_LIBRARY
inline constexpr bool kGpuOnly = true;
inline constexpr char kTestGpuLibrary[] = LCKV_TEST_GPU_LIBRARY;
#else
inline constexpr bool kGpuOnly = false;
inline constexpr char kTestGpuLibrary[] = "";
#endif

// Null, and a failure, if there is none.
inline std::unique_ptr<Backend> OpenTestGpu(DType activations) {
  const char* other = std::getenv("LCKV_GPU_LIBRARY");
  const auto api = OpenGpuLibrary(other == nullptr ? kTestGpuLibrary : other);
  EXPECT_OK(api);
  if (!api.ok()) return nullptr;
  auto gpu = MakeCudaBackend(*api, {.activations = activations});
  EXPECT_OK(gpu);
  return gpu.ok() ? *std::move(gpu) : nullptr;
}

}  // namespace lckv::testing
