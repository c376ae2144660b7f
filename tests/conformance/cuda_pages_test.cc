// Memory and page traffic of a GPU: weights, pages and sessions that move between host and device.
// On the simulated one each test runs twice: copies at once, and copies that get there when they
// are waited for.

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "tests/conformance/test_gpu.h"
#include "tests/engine/runtime/engine_harness.h"

namespace lckv::testing {
namespace {

using ::testing::HasSubstr;

class CudaPagesTest : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override { ASSERT_EQ(setenv("LCKV_SIM_COPIES", GetParam(), 1), 0); }
  void TearDown() override {
    unsetenv("LCKV_SIM_COPIES");
    unsetenv("LCKV_SIM_MEMORY");
  }
  static absl::StatusOr<std::unique_ptr<Engine>> MakeGpuEngine(const std::string& model,
                                                               const EngineOptions& options) {
    auto checkpoint = Checkpoint::Open(model, {});
    EXPECT_OK(checkpoint);
    return Engine::Create(**checkpoint, OpenTestGpu(DType::kF32), options, nullptr);
  }
};

// Three pieces and a half: both buffers are used twice.
TEST_P(CudaPagesTest, ALargeMatrixArrivesWhole) {
  constexpr int64_t kRows = 3500;
  constexpr int64_t kCols = 2050;  // rows are padded
  const std::unique_ptr<Backend> gpu = OpenTestGpu(DType::kF32);
  ASSERT_NE(gpu, nullptr);
  std::vector<float> values(kRows * kCols);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 9973);
  const HostMatrix matrix = {values.data(), DType::kF32, kRows, kCols};
  ASSERT_OK_AND_ASSIGN(const auto weight, gpu->PrepareLinear(matrix, DType::kF32));
  ASSERT_OK_AND_ASSIGN(const auto small,
                       gpu->PrepareLinear({values.data(), DType::kF32, 3, 32}, DType::kF32));
  std::fill(values.begin(), values.end(), 0.0f);  // not needed any more
  const std::vector<int32_t> rows = {0, 1, 1022, 1023, 1024, 2045, 2046, 3068, 3069, 3499};
  ASSERT_OK_AND_ASSIGN(const DeviceBuffer tokens, gpu->Allocate(rows.size() * sizeof(int32_t)));
  ASSERT_OK_AND_ASSIGN(const DeviceBuffer out, gpu->Allocate(rows.size() * kCols * sizeof(float)));
  gpu->CopyToDevice(tokens.data(), rows.data(), rows.size() * sizeof(int32_t));
  gpu->Embed({weight.get(), tokens.ints(), static_cast<int32_t>(rows.size()), out.floats()});
  std::vector<float> got(rows.size() * kCols);
  gpu->CopyToHost(got.data(), out.data(), got.size() * sizeof(float));
  ASSERT_OK(gpu->Synchronize());
  for (size_t i = 0; i < got.size(); ++i) {
    const int64_t index = rows[i / kCols] * kCols + static_cast<int64_t>(i % kCols);
    ASSERT_EQ(got[i], static_cast<float>(index % 9973)) << i;
  }
}

TEST_P(CudaPagesTest, PinnedMemoryIsZeroed) {
  const std::unique_ptr<Backend> gpu = OpenTestGpu(DType::kF32);
  ASSERT_NE(gpu, nullptr);
  ASSERT_OK_AND_ASSIGN(const HostBuffer buffer, gpu->AllocateHost(100000));
  EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer.data()) % 4096, 0u);
  EXPECT_TRUE(std::all_of(buffer.bytes(), buffer.bytes() + buffer.size_bytes(),
                          [](uint8_t byte) { return byte == 0; }));
}

// A session goes from the CPU to the GPU and back, through more pages than staging has, while
// another turn runs; the bytes are the same.
TEST_P(CudaPagesTest, PagesMoveBetweenDevices) {
  EngineOptions options = SmallOptions();
  options.page_staging_bytes = 0;  // two pages
  options.kv_memory_bytes = int64_t{1} << 20;
  const std::string model = GoldenModelPath("odd-map");
  const std::unique_ptr<Engine> cpu = MakeEngine(model, options);
  ASSERT_OK_AND_ASSIGN(const std::unique_ptr<Engine> gpu, MakeGpuEngine(model, options));
  const int vocab = cpu->config().vocab_size;
  OpenEmpty(*cpu, "s");
  RunTurn(*cpu, MakeTurn("s", RandomTokens(90, vocab, 1), 4));
  const SessionExport state = ExportAll(*cpu, "s");
  const auto tokens = static_cast<int32_t>(state.transcript.tokens.size());
  ASSERT_EQ(state.pages.size(), 6u);
  OpenEmpty(*gpu, "other");
  const auto other = Start(*gpu, MakeTurn("other", RandomTokens(9, vocab, 2), 12));
  for (const char* session : {"a", "b"}) {
    ASSERT_OK(OpenFrom(*gpu, session, {}, state, tokens, state.transcript.kv_tokens));
    EXPECT_TRUE(SameState(ExportAll(*gpu, session), state));
  }
  EXPECT_OK(Await(*other).outcome.status);
  // What the GPU adds can be read by the CPU.
  const TurnResult reply = RunTurn(*gpu, MakeTurn("a", RandomTokens(5, vocab, 3), 4));
  EXPECT_EQ(reply.outcome.reencoded_tokens, 0);
  const SessionExport grown = ExportAll(*gpu, "a");
  EXPECT_EQ(std::vector<std::vector<uint8_t>>(grown.pages.begin(), grown.pages.begin() + 5),
            std::vector<std::vector<uint8_t>>(state.pages.begin(), state.pages.begin() + 5));
  ASSERT_OK(OpenFrom(*cpu, "back", {}, grown, static_cast<int32_t>(grown.transcript.tokens.size()),
                     grown.transcript.kv_tokens));
  EXPECT_TRUE(SameState(ExportAll(*cpu, "back"), grown));
  ExpectNothingLeft(*gpu, {"a", "b", "other"});
}

TEST_P(CudaPagesTest, ACorruptPageIsFoundInGpuMemory) {
  EngineOptions options = SmallOptions();
  options.kv_memory_bytes = int64_t{1} << 20;
  ASSERT_OK_AND_ASSIGN(const auto gpu, MakeGpuEngine(GoldenModelPath("odd-map"), options));
  const std::vector<uint8_t> page(static_cast<size_t>(gpu->page_layout().page_bytes()), 0x5A);
  const uint32_t crc = Crc32c(page.data(), page.size());
  ASSERT_OK_AND_ASSIGN(auto import, gpu->ReserveImport(4));
  for (const uint32_t expected : {crc, crc, crc ^ 1, crc}) {
    ASSERT_OK_AND_ASSIGN(const auto staged, import->Stage(1, absl::Now() + kPatience));
    std::memcpy(staged[0], page.data(), page.size());
    EXPECT_OK(import->Landed({expected}));
  }
  ASSERT_OK_AND_ASSIGN(const int64_t intact, import->Finish());
  EXPECT_EQ(intact, 2);
  import.reset();
  EXPECT_EQ(gpu->load().pages_used, 0);
}

TEST_P(CudaPagesTest, MemoryIsPlannedFromWhatIsFree) {
  if (std::getenv("LCKV_GPU_LIBRARY") != nullptr) GTEST_SKIP() << "of the simulated GPU";
  const std::string model = GoldenModelPath("odd-map");
  EngineOptions options = SmallOptions();
  options.kv_memory = KvMemory::kAuto;
  setenv("LCKV_SIM_MEMORY", "33554432", 1);
  ASSERT_OK_AND_ASSIGN(const auto gpu, MakeGpuEngine(model, options));
  const int64_t pool = gpu->load().pages_capacity * gpu->page_layout().page_bytes();
  EXPECT_GT(pool, int64_t{1} << 20);
  EXPECT_LT(pool, int64_t{9} * 33554432 / 10);
  setenv("LCKV_SIM_MEMORY", "60000", 1);
  EXPECT_THAT(MakeGpuEngine(model, options),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("weights")));
  EXPECT_THAT(MakeGpuEngine(model, options),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("58.6 KiB free")));
}

INSTANTIATE_TEST_SUITE_P(Copies, CudaPagesTest, ::testing::Values("atonce", "late"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace lckv::testing
