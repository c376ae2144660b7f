#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "engine/device/device.h"
#include "engine/ops/cuda/cuda_backend.h"
#include "engine/ops/cuda/gpu_library.h"
#include "tests/testing/status_matchers.h"

namespace lckv {
namespace {

using ::lckv::testing::StatusIs;
using ::testing::HasSubstr;
using ::testing::StartsWith;

DeviceOptions Options(const std::string& device, const std::string& compute = "auto") {
  DeviceOptions options;
  options.device = device;
  options.compute = compute;
  return options;
}

TEST(OpenDeviceTest, TheCpuComputesInF32) {
  for (const char* compute : {"auto", "f32"}) {
    ASSERT_OK_AND_ASSIGN(const auto cpu, OpenDevice(Options("cpu", compute)));
    EXPECT_EQ(cpu->activation_dtype(), DType::kF32);
    EXPECT_EQ(cpu->int8_format(), DType::kQ8_0);
    EXPECT_EQ(cpu->DefaultFormat(DType::kF16), DType::kF16);
  }
  EXPECT_THAT(OpenDevice(Options("cpu", "bf16")),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("bf16")));
}

TEST(OpenDeviceTest, RefusesUnknownNames) {
  for (const char* device : {"", "gpu", "cuda:", "cuda:-1", "cuda:x", "CPU"}) {
    EXPECT_THAT(OpenDevice(Options(device)),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("want auto, cpu")))
        << device;
  }
  EXPECT_THAT(OpenDevice(Options("cpu", "tf32")),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("tf32")));
}

TEST(OpenGpuLibraryTest, SaysWhatIsWrong) {
  EXPECT_THAT(OpenGpuLibrary("/nowhere/liblckv_cuda.so"),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("/nowhere/liblckv_cuda.so")));
  EXPECT_THAT(OpenGpuLibrary("libm.so.6"),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("libm.so.6")));
  EXPECT_THAT(OpenGpuLibrary("/etc/passwd"),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("no shared library")));
}

// A GPU library's table with one answer changed at a time.
gpu::GpuApi NoGpu() {
  gpu::GpuApi api;
  api.version = gpu::kApiVersion;
  api.size = sizeof(api);
  api.error_text = [](int code) { return code == 35 ? "driver too old" : "?"; };
  api.device_count = [](int32_t* count) {
    *count = 0;
    return 0;
  };
  return api;
}

TEST(MakeCudaBackendTest, MachinesWithoutAGpu) {
  static gpu::GpuApi api = NoGpu();
  EXPECT_THAT(MakeCudaBackend(&api, {}), StatusIs(absl::StatusCode::kUnavailable));
  api.device_count = [](int32_t*) { return 35; };
  EXPECT_THAT(MakeCudaBackend(&api, {}),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("driver too old")));
  api.device_count = [](int32_t* count) {
    *count = 1;
    return 0;
  };
  EXPECT_THAT(MakeCudaBackend(&api, {.ordinal = 1}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no GPU 1")));
  api.open = [](int32_t, bool, gpu::Device**) { return 35; };
  EXPECT_THAT(MakeCudaBackend(&api, {}), StatusIs(absl::StatusCode::kInternal));
  api.open = [](int32_t, bool, gpu::Device**) { return gpu::kUnsupportedDevice; };
  EXPECT_THAT(MakeCudaBackend(&api, {}), StatusIs(absl::StatusCode::kFailedPrecondition));
}

#ifdef LCKV_TEST_SIMULATED_GPU
class SimulatedGpuTest : public ::testing::Test {
 protected:
  SimulatedGpuTest() {
    auto api = OpenGpuLibrary(LCKV_TEST_SIMULATED_GPU);
    EXPECT_OK(api);
    api_ = *api;
  }
  const gpu::GpuApi* api_ = nullptr;
};

TEST_F(SimulatedGpuTest, TheClassNamesWhatDecidesTheBits) {
  ASSERT_OK_AND_ASSIGN(const auto bf16, MakeCudaBackend(api_, {}));
  EXPECT_EQ(bf16->numerics_class(), "cuda-bf16-r1-sm_90-host");
  ASSERT_OK_AND_ASSIGN(const auto fast, MakeCudaBackend(api_, {.fast = true}));
  EXPECT_EQ(fast->numerics_class(), "cuda-bf16-r1-sm_90-host-fast");
  ASSERT_OK_AND_ASSIGN(const auto f32, MakeCudaBackend(api_, {.activations = DType::kF32}));
  EXPECT_EQ(f32->numerics_class(), "cuda-f32-r1");
  EXPECT_THAT(MakeCudaBackend(api_, {.activations = DType::kF32, .fast = true}),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(MakeCudaBackend(api_, {.activations = DType::kF16}),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

// Opening such a file would end the process.
TEST_F(SimulatedGpuTest, ALibraryThatWasCopiedInPart) {
  std::ifstream whole(LCKV_TEST_SIMULATED_GPU, std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(whole)), {});
  const std::string file = ::testing::TempDir() + "/cut.so";
  for (const size_t size : {size_t{0}, size_t{63}, bytes.size() / 3, bytes.size() - 1}) {
    std::ofstream(file, std::ios::binary).write(bytes.data(), static_cast<int64_t>(size));
    EXPECT_THAT(OpenGpuLibrary(file), StatusIs(absl::StatusCode::kFailedPrecondition)) << size;
  }
}

TEST_F(SimulatedGpuTest, FormatsThatUsersDoNotName) {
  ASSERT_OK_AND_ASSIGN(const auto bf16, MakeCudaBackend(api_, {}));
  EXPECT_EQ(bf16->DefaultFormat(DType::kF32), DType::kBf16);
  EXPECT_EQ(bf16->DefaultFormat(DType::kQ4_1), DType::kQ4_1);
  EXPECT_EQ(bf16->int8_format(), DType::kI8);
  ASSERT_OK_AND_ASSIGN(const auto f32, MakeCudaBackend(api_, {.activations = DType::kF32}));
  EXPECT_EQ(f32->DefaultFormat(DType::kF32), DType::kF32);
  EXPECT_EQ(f32->int8_format(), DType::kQ8_0);
}

// Products of a fast backend are right for every number of rows, each with its own algorithm.
TEST_F(SimulatedGpuTest, FastProducts) {
  ASSERT_OK_AND_ASSIGN(const auto backend, MakeCudaBackend(api_, {.fast = true}));
  const std::vector<float> weights = {1, 2, 3, 4, 5, 6, 7, 8};
  ASSERT_OK_AND_ASSIGN(const auto weight,
                       backend->PrepareLinear({weights.data(), DType::kF32, 2, 4}, DType::kBf16));
  for (const int rows : {1, 3, 40}) {
    std::vector<uint16_t> x(static_cast<size_t>(rows) * 4, F32ToBf16(2.0f));
    ASSERT_OK_AND_ASSIGN(const DeviceBuffer in, backend->Allocate(x.size() * 2));
    ASSERT_OK_AND_ASSIGN(const DeviceBuffer out,
                         backend->Allocate(static_cast<size_t>(rows) * 2 * sizeof(float)));
    backend->CopyToDevice(in.data(), x.data(), x.size() * 2);
    backend->Linear(
        {weight.get(), Activations(in.data(), DType::kBf16), nullptr, rows, false, out.floats()});
    std::vector<float> result(static_cast<size_t>(rows) * 2);
    backend->CopyToHost(result.data(), out.data(), result.size() * sizeof(float));
    for (size_t i = 0; i < result.size(); ++i) EXPECT_EQ(result[i], i % 2 == 0 ? 20 : 52) << i;
  }
  EXPECT_OK(backend->Synchronize());
}
#endif

}  // namespace
}  // namespace lckv
