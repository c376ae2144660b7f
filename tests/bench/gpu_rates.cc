// MeasureGpu with the CUDA runtime alone: no kernel and no code of the engine's.

#include <cuda_runtime.h>
#ifdef LCKV_BENCH_CUBLAS
#include <cublas_v2.h>
#endif

#include <algorithm>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/bench/machine_rates.h"

namespace lckv::bench {
namespace {

constexpr size_t kMiB = size_t{1} << 20;
constexpr int kRounds = 5;

// Memory of one kind; freed in the end. Null when there is none.
class Memory {
 public:
  enum Kind { kDevice, kPinned };
  Memory(Kind kind, size_t bytes) : kind_(kind) {
    const cudaError_t error =
        kind == kDevice ? cudaMalloc(&data_, bytes) : cudaMallocHost(&data_, bytes);
    if (error != cudaSuccess) data_ = nullptr;
  }
  Memory(const Memory&) = delete;
  ~Memory() { kind_ == kDevice ? cudaFree(data_) : cudaFreeHost(data_); }
  void* get() const { return data_; }

 private:
  const Kind kind_;
  void* data_ = nullptr;
};

// The best of some rounds, by the device's own clock, in seconds; 0 after an error.
double BestSeconds(const std::function<bool()>& queue) {
  cudaEvent_t begin, end;
  cudaEventCreate(&begin);
  cudaEventCreate(&end);
  float best_ms = 0;
  for (int round = 0; round <= kRounds; ++round) {  // the first one warms up
    cudaEventRecord(begin);
    if (!queue()) break;
    cudaEventRecord(end);
    float ms = 0;
    if (cudaEventSynchronize(end) != cudaSuccess) break;
    if (cudaEventElapsedTime(&ms, begin, end) != cudaSuccess || ms <= 0) break;
    if (round > 0) best_ms = best_ms == 0 ? ms : std::min(best_ms, ms);
  }
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  return static_cast<double>(best_ms) * 1e-3;
}

double CopyRate(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  if (to == nullptr || from == nullptr) return 0;
  const double seconds =
      BestSeconds([&] { return cudaMemcpyAsync(to, from, bytes, kind, nullptr) == cudaSuccess; });
  return seconds > 0 ? static_cast<double>(bytes) / seconds : 0;
}

#ifdef LCKV_BENCH_CUBLAS
// FLOP/s of one large square product, bf16 with float32 sums. Values vary: a GPU clocks higher on
// constant ones.
double ProductRate() {
  constexpr int kSize = 8192;
  constexpr size_t kBytes = size_t{kSize} * kSize * 2;
  const Memory a(Memory::kDevice, kBytes), b(Memory::kDevice, kBytes), c(Memory::kDevice, kBytes);
  if (a.get() == nullptr || b.get() == nullptr || c.get() == nullptr) return 0;
  std::vector<uint16_t> values(kBytes / 2);
  uint64_t state = 1;
  for (uint16_t& value : values) {  // of either sign, up to 1
    state = state * 6364136223846793005u + 1442695040888963407u;
    value = static_cast<uint16_t>((state >> 40 & 0x8000) | 0x3E80 | (state >> 33 & 0xFF));
  }
  cudaMemcpy(a.get(), values.data(), kBytes, cudaMemcpyHostToDevice);
  cudaMemcpy(b.get(), values.data(), kBytes, cudaMemcpyHostToDevice);
  cublasHandle_t handle;
  if (cublasCreate(&handle) != CUBLAS_STATUS_SUCCESS) return 0;
  const float one = 1, zero = 0;
  const double seconds = BestSeconds([&] {
    return cublasGemmEx(handle, CUBLAS_OP_T, CUBLAS_OP_N, kSize, kSize, kSize, &one, a.get(),
                        CUDA_R_16BF, kSize, b.get(), CUDA_R_16BF, kSize, &zero, c.get(),
                        CUDA_R_16BF, kSize, CUBLAS_COMPUTE_32F,
                        CUBLAS_GEMM_DEFAULT) == CUBLAS_STATUS_SUCCESS;
  });
  cublasDestroy(handle);
  return seconds > 0 ? 2.0 * kSize * kSize * kSize / seconds : 0;
}
#endif

}  // namespace

MachineRates MeasureGpu(int ordinal) {
  MachineRates rates;
  cudaDeviceProp properties = {};
  cudaError_t error = cudaSetDevice(ordinal);
  if (error == cudaSuccess) error = cudaGetDeviceProperties(&properties, ordinal);
  if (error != cudaSuccess) {
    rates.note = absl::StrCat("GPU ", ordinal, ": ", cudaGetErrorString(error));
    return rates;
  }
  rates.device = properties.name;
  int driver = 0, runtime = 0;
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&runtime);
  rates.driver = absl::StrCat("CUDA ", driver / 1000, ".", driver % 1000 / 10, ", runtime ",
                              runtime / 1000, ".", runtime % 1000 / 10);
  {
    constexpr size_t kDeviceBytes = 2048 * kMiB, kHostBytes = 256 * kMiB;
    const Memory a(Memory::kDevice, kDeviceBytes), b(Memory::kDevice, kDeviceBytes);
    const Memory host(Memory::kPinned, kHostBytes);
    rates.copy_bytes_per_second =
        2 * CopyRate(a.get(), b.get(), kDeviceBytes, cudaMemcpyDeviceToDevice);
    rates.to_device_bytes_per_second =
        CopyRate(a.get(), host.get(), kHostBytes, cudaMemcpyHostToDevice);
    rates.to_host_bytes_per_second =
        CopyRate(host.get(), a.get(), kHostBytes, cudaMemcpyDeviceToHost);
  }
#ifdef LCKV_BENCH_CUBLAS
  rates.bf16_flops = ProductRate();
  if (rates.bf16_flops == 0) rates.note = "cuBLAS: no product measured";
#else
  rates.note = "built without cuBLAS: no product measured";
#endif
  size_t free_bytes = 0, total_bytes = 0;
  cudaMemGetInfo(&free_bytes, &total_bytes);
  rates.memory_bytes = static_cast<int64_t>(total_bytes);
  rates.free_bytes = static_cast<int64_t>(free_bytes);
  return rates;
}

}  // namespace lckv::bench
