#include "tests/bench/machine_rates.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <thread>
#include <vector>

#include "absl/strings/match.h"

namespace lckv::bench {
namespace {

struct SheetName {
  const char* part;   // of the driver's name
  const char* other;  // and this one
  const char* sheet;
};
// The first that matches: "NVIDIA A100-SXM4-40GB", "NVIDIA H100 PCIe", "NVIDIA H100 80GB HBM3".
constexpr SheetName kSheets[] = {{"H100", "PCIe", "h100-pcie"}, {"H100", "", "h100"},
                                 {"H200", "", "h200"},          {"A100", "40GB", "a100-40"},
                                 {"A100", "", "a100"},          {"L40S", "", "l40s"},
                                 {"RTX 3090", "", "rtx3090"},   {"RTX 4090", "", "rtx4090"}};

}  // namespace

std::optional<DeviceSpec> SheetOf(absl::string_view device) {
  for (const SheetName& name : kSheets) {
    if (!absl::StrContains(device, name.part) || !absl::StrContains(device, name.other)) continue;
    auto spec = FindDevice(name.sheet);
    if (spec.ok()) return *std::move(spec);
  }
  return std::nullopt;
}

MachineRates MeasureHost() {
  constexpr size_t kBytes = size_t{128} << 20;
  constexpr int kRounds = 4;
  MachineRates rates;
  rates.memory_bytes = int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGESIZE);
  rates.free_bytes = int64_t{sysconf(_SC_AVPHYS_PAGES)} * sysconf(_SC_PAGESIZE);
  const std::vector<uint8_t> from(kBytes, 1);
  std::vector<uint8_t> to(kBytes);
  const size_t threads = std::max(1u, std::thread::hardware_concurrency());
  double best = 1e9;
  for (int round = 0; round < kRounds; ++round) {
    const auto begin = std::chrono::steady_clock::now();
    std::vector<std::thread> copiers;
    for (size_t i = 0; i < threads; ++i) {
      const size_t first = kBytes / threads * i;
      copiers.emplace_back(
          [&, first] { std::memcpy(to.data() + first, from.data() + first, kBytes / threads); });
    }
    for (std::thread& copier : copiers) copier.join();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    best = std::min(best, took.count());
  }
  rates.copy_bytes_per_second = 2.0 * static_cast<double>(kBytes) / best;
  rates.note = "host: no product measured";
  return rates;
}

#ifndef LCKV_BENCH_CUDA
MachineRates MeasureGpu(int /*ordinal*/) {
  MachineRates rates;
  rates.note = "built without CUDA: nothing measured";
  return rates;
}
#endif

}  // namespace lckv::bench
