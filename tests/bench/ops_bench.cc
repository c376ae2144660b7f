// Speed of the CPU backend's ops beside what the machine can do: a loop that only reads memory and
// one that only multiplies and adds, measured in the same run. Median and best time; rates are
// those of the best. One line a case.
//
//   ops_bench [--threads N] [--isa NAME] [--filter SUBSTRING]

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/check.h"
#include "engine/ops/backend.h"
#include "engine/ops/cpu/thread_pool.h"

namespace lckv {
namespace {

struct Options {
  int threads = 0;
  std::string isa;
  std::string filter;
};

struct Timing {
  double median_s;
  double best_s;  // what the machine can do when its neighbours are quiet
};

// Of one call. Calls body(i) for i in [0, count) round and round and times each call alone: a short
// call escapes the neighbours now and then, and the best time of each i does so almost surely.
Timing Measure(int count, absl::FunctionRef<void(int)> body) {
  constexpr double kTotalSeconds = 0.7;
  constexpr size_t kFewestRounds = 5;
  std::vector<double> best(static_cast<size_t>(count), 1e9);
  std::vector<double> rounds;
  double total = 0;
  for (int i = 0; i < count; ++i) body(i);  // warm
  while (total < kTotalSeconds || rounds.size() < kFewestRounds) {
    double round = 0;
    for (int i = 0; i < count; ++i) {
      const auto start = std::chrono::steady_clock::now();
      body(i);
      const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
      round += took.count();
      best[static_cast<size_t>(i)] = std::min(best[static_cast<size_t>(i)], took.count());
    }
    rounds.push_back(round);
    total += round;
  }
  std::sort(rounds.begin(), rounds.end());
  double best_sum = 0;
  for (double seconds : best) best_sum += seconds;
  return {rounds[rounds.size() / 2] / count, best_sum / count};
}

#if defined(__x86_64__)
// Ten independent chains of fused multiply-adds of 8 lanes: more than latency times throughput of
// any core so far.
__attribute__((target("avx2,fma"))) float FmaChains(int64_t steps) {
  const __m256 f = _mm256_set1_ps(0.999f);
  const __m256 t = _mm256_set1_ps(0.001f);
  __m256 a = t, b = t, c = t, d = t, e = t, g = f, h = f, i = f, j = f, k = f;
  for (int64_t s = 0; s < steps; ++s) {
    a = _mm256_fmadd_ps(a, f, t);
    b = _mm256_fmadd_ps(b, f, t);
    c = _mm256_fmadd_ps(c, f, t);
    d = _mm256_fmadd_ps(d, f, t);
    e = _mm256_fmadd_ps(e, f, t);
    g = _mm256_fmadd_ps(g, f, t);
    h = _mm256_fmadd_ps(h, f, t);
    i = _mm256_fmadd_ps(i, f, t);
    j = _mm256_fmadd_ps(j, f, t);
    k = _mm256_fmadd_ps(k, f, t);
  }
  const __m256 total = a + b + c + d + e + g + h + i + j + k;
  return _mm256_cvtss_f32(total);
}
constexpr double kFlopsPerStep = 10 * 8 * 2;
#endif

class Bench {
 public:
  explicit Bench(const Options& options) : options_(options), rng_(1) {
    auto backend = MakeCpuBackend({options.threads, options.isa});
    if (!backend.ok()) {
      std::fprintf(stderr, "%s\n", backend.status().ToString().c_str());
      std::exit(1);
    }
    backend_ = *std::move(backend);
    threads_ = options.threads > 0 ? options.threads
                                   : static_cast<int>(std::thread::hardware_concurrency());
    pool_ = *cpu::ThreadPool::Create(threads_);
  }

  void Run() {
    std::printf("%s\n", backend_->description().c_str());
    MeasureRoofline();
    ForkJoin();
    for (DType dtype : {DType::kQ4_1, DType::kQ8_0, DType::kBf16, DType::kF32}) {
      for (int rows : {1, 4, 16}) LinearLayer(dtype, rows, false);
      for (int rows : {1, 2, 4, 16, 48, 512}) LinearLayer(dtype, rows, true);
    }
    SmolToken();
    for (int context : {256, 1024, 4096}) Attention(1, context);
    Attention(256, 1024);
    Elementwise();
  }

 private:
  bool Wanted(absl::string_view name) const { return absl::StrContains(name, options_.filter); }

  // `count`: how many times a timed run did what `bytes` and `flops` describe.
  void Report(const std::string& name, const Timing& time, double count, double bytes,
              double flops) const {
    const double seconds = time.best_s / count;
    std::printf("%-44s %10.2f us, best %10.2f", name.c_str(), time.median_s / count * 1e6,
                seconds * 1e6);
    if (bytes > 0) {
      const double rate = bytes / seconds * 1e-9;
      std::printf("  %7.1f GB/s (%3.0f%% of read)", rate, 100 * rate / read_gb_per_s_);
    }
    if (flops > 0) {
      const double rate = flops / seconds * 1e-9;
      std::printf("  %7.1f GFLOP/s (%3.0f%% of peak)", rate, 100 * rate / peak_gflops_);
    }
    std::printf("\n");
    std::fflush(stdout);
  }

  void MeasureRoofline() {
    std::vector<uint64_t> memory(size_t{256} << 17, 1);  // 256 MiB
    std::vector<uint64_t> sums(static_cast<size_t>(threads_) * 8);
    const auto words = static_cast<int64_t>(memory.size());
    const Timing read = Measure(1, [&](int) {
      pool_->ParallelFor(words / 4096, 4096, [&](int64_t begin, int64_t end, int thread) {
        uint64_t sum[4] = {};
        for (int64_t i = begin * 4096; i < end * 4096; i += 4) {
          for (int j = 0; j < 4; ++j) sum[j] += memory[static_cast<size_t>(i + j)];
        }
        sums[static_cast<size_t>(thread) * 8] += sum[0] + sum[1] + sum[2] + sum[3];
      });
    });
    read_gb_per_s_ = static_cast<double>(words) * 8 / read.best_s * 1e-9;
    std::printf("%-44s %24.1f GB/s\n", "roofline: read", read_gb_per_s_);
#if defined(__x86_64__)
    if (!__builtin_cpu_supports("fma")) return;
    constexpr int64_t kSteps = 1 << 20;
    std::vector<float> results(static_cast<size_t>(threads_) * 16);
    const Timing fma = Measure(1, [&](int) {
      pool_->Run(threads_ * 8, [&](int /*chunk*/, int thread) {
        results[static_cast<size_t>(thread) * 16] += FmaChains(kSteps / 8);
      });
    });
    peak_gflops_ = kFlopsPerStep * static_cast<double>(kSteps) * threads_ / fma.best_s * 1e-9;
    std::printf("%-44s %24.1f GFLOP/s\n", "roofline: 256-bit fused multiply-add", peak_gflops_);
#endif
  }

  void ForkJoin() {
    if (!Wanted("fork-join")) return;
    constexpr int kRegions = 1000;
    const Timing time = Measure(1, [&](int) {
      for (int i = 0; i < kRegions; ++i) pool_->Run(threads_, [](int, int) {});
    });
    Report("fork-join, back to back", time, kRegions, 0, 0);
    const Timing chunked = Measure(1, [&](int) {
      for (int i = 0; i < kRegions; ++i) pool_->Run(threads_ * 8, [](int, int) {});
    });
    Report("fork-join, 8 chunks a thread", chunked, kRegions, 0, 0);
  }

  std::vector<float> Floats(int64_t count) {
    std::normal_distribution<float> normal;
    std::vector<float> values(static_cast<size_t>(count));
    for (float& value : values) value = normal(rng_);
    return values;
  }

  std::unique_ptr<LinearWeight> Weight(int64_t out, int64_t in, DType dtype) {
    const std::vector<float> values = Floats(out * in);
    auto weight = backend_->PrepareLinear({values.data(), DType::kF32, out, in}, dtype);
    LCKV_CHECK(weight.ok());
    return *std::move(weight);
  }

  DeviceBuffer Buffer(int64_t count) {
    const std::vector<float> values = Floats(count);
    auto buffer = backend_->Allocate(values.size() * sizeof(float));
    LCKV_CHECK(buffer.ok());
    backend_->CopyToDevice(buffer->data(), values.data(), buffer->size_bytes());
    return *std::move(buffer);
  }

  // A matrix of 1536 x 576: one, or so many in turn that none is still in a cache when its turn
  // comes again.
  void LinearLayer(DType dtype, int rows, bool cached) {
    const std::string name =
        absl::StrCat("linear 1536x576 ", Name(dtype), ", rows ", rows, cached ? ", in cache" : "");
    if (!Wanted(name)) return;
    constexpr int kIn = 576;
    constexpr int kOut = 1536;
    const int64_t bytes = BytesOf(dtype, int64_t{kIn} * kOut);
    const int count = cached ? 1 : static_cast<int>((int64_t{128} << 20) / bytes);
    std::vector<std::unique_ptr<LinearWeight>> weights;
    for (int i = 0; i < count; ++i) weights.push_back(Weight(kOut, kIn, dtype));
    const DeviceBuffer x = Buffer(int64_t{rows} * kIn);
    const DeviceBuffer out = Buffer(int64_t{rows} * kOut);
    const Timing time = Measure(count, [&](int i) {
      const LinearWeight* weight = weights[static_cast<size_t>(i)].get();
      backend_->Linear({weight, x.floats(), nullptr, rows, false, out.floats()});
    });
    const double flops = 2.0 * rows * kIn * kOut;
    Report(name, time, 1, cached ? 0 : static_cast<double>(bytes), flops);
  }

  // All matrix products of one token of SmolLM2-135M: Q4_1 layers, Q8_0 output.
  void SmolToken() {
    const std::string name = "SmolLM2-135M token, all 211 linears";
    if (!Wanted(name)) return;
    constexpr int kLayers = 30;
    constexpr std::pair<int, int> kShapes[] = {{576, 576},  {192, 576},  {192, 576}, {576, 576},
                                               {1536, 576}, {1536, 576}, {576, 1536}};
    std::vector<std::unique_ptr<LinearWeight>> weights;
    double bytes = 0;
    for (int layer = 0; layer < kLayers; ++layer) {
      for (const auto& [out, in] : kShapes) weights.push_back(Weight(out, in, DType::kQ4_1));
    }
    weights.push_back(Weight(49152, 576, DType::kQ8_0));
    for (const auto& weight : weights) bytes += static_cast<double>(weight->size_bytes());
    const int count = static_cast<int>(weights.size());
    const DeviceBuffer x = Buffer(1536);
    const DeviceBuffer out = Buffer(49152);
    Timing time = Measure(count, [&](int i) {
      const LinearWeight* weight = weights[static_cast<size_t>(i)].get();
      backend_->Linear({weight, x.floats(), nullptr, 1, false, out.floats()});
    });
    time.median_s *= count;
    time.best_s *= count;
    Report(name, time, 1, bytes, 0);
    std::printf("%-44s %10.1f tokens/s\n", "  that is", 1 / time.best_s);
  }

  // 9 query heads on 3 of 64, as SmolLM2, bf16. `rows` consecutive positions that end at `context`.
  void Attention(int rows, int context) {
    const std::string name =
        absl::StrCat("attention 9/3 heads, rows ", rows, ", context ", context);
    if (!Wanted(name)) return;
    constexpr int kPageTokens = 64;
    constexpr int kKvHeads = 3;
    constexpr int kHeads = 9;
    constexpr int kHeadDim = 64;
    constexpr int64_t kPlaneBytes = kPageTokens * kHeadDim * 2;
    const int pages = (context + kPageTokens - 1) / kPageTokens;
    auto memory = backend_->Allocate(static_cast<size_t>(pages * kKvHeads * 2 * kPlaneBytes));
    LCKV_CHECK(memory.ok());
    std::vector<void*> addresses;
    for (int i = 0; i < pages; ++i) {
      addresses.push_back(memory->bytes() + i * kKvHeads * 2 * kPlaneBytes);
    }
    KvTable table;
    table.past_pages = table.own_pages = addresses.data();
    std::vector<int32_t> positions;
    for (int i = 0; i < rows; ++i) positions.push_back(context - rows + i);
    const std::vector<int32_t> table_of_row(static_cast<size_t>(rows), 0);
    const DeviceBuffer q = Buffer(int64_t{rows} * kHeads * kHeadDim);
    const DeviceBuffer out = Buffer(int64_t{rows} * kHeads * kHeadDim);
    AttentionParams params = {};
    params.q = q.floats();
    params.positions = positions.data();
    params.table_of_row = table_of_row.data();
    params.tables = &table;
    params.shape = {kPageTokens, kKvHeads, kHeadDim, 2 * kPlaneBytes, kPlaneBytes};
    params.dtype = DType::kBf16;
    params.rows = rows;
    params.heads = kHeads;
    params.scale = 0.125f;
    params.max_position = context - 1;
    params.out = out.floats();
    const Timing time = Measure(1, [&](int) { backend_->Attention(params); });
    double keys = 0;
    for (int32_t position : positions) keys += position + 1;
    Report(name, time, 1, 0, keys * kHeads * kHeadDim * 4);
  }

  void Elementwise() {
    const DeviceBuffer a = Buffer(512 * 1536);
    const DeviceBuffer b = Buffer(512 * 1536);
    const DeviceBuffer out = Buffer(512 * 1536);
    for (int rows : {1, 512}) {
      const std::string norm = absl::StrCat("rms_norm 576, rows ", rows);
      if (Wanted(norm)) {
        const Timing time = Measure(1, [&](int) {
          backend_->RmsNorm({a.floats(), b.floats(), 1e-5f, rows, 576, out.floats()});
        });
        Report(norm, time, 1, 0, 0);
      }
      const std::string glu = absl::StrCat("swi_glu 1536, rows ", rows);
      if (Wanted(glu)) {
        const Timing time = Measure(1, [&](int) {
          backend_->SwiGlu({a.floats(), b.floats(), rows, 1536, out.floats()});
        });
        Report(glu, time, 1, 0, 0);
      }
    }
  }

  const Options options_;
  std::mt19937 rng_;
  int threads_ = 1;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<cpu::ThreadPool> pool_;
  double read_gb_per_s_ = 1;
  double peak_gflops_ = 1;
};

Options Parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i + 1 < argc; i += 2) {
    const absl::string_view flag = argv[i];
    const absl::string_view value = argv[i + 1];
    if (flag == "--isa") {
      options.isa = std::string(value);
    } else if (flag == "--filter") {
      options.filter = std::string(value);
    } else if (flag != "--threads" || !absl::SimpleAtoi(value, &options.threads)) {
      std::fprintf(stderr, "usage: ops_bench [--threads N] [--isa NAME] [--filter SUBSTRING]\n");
      std::exit(2);
    }
  }
  return options;
}

}  // namespace
}  // namespace lckv

int main(int argc, char** argv) { lckv::Bench(lckv::Parse(argc, argv)).Run(); }
