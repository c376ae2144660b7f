#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace lckv {

// What a plan has to know of a device. Peaks are of the data sheet: dense, without sparsity.
struct DeviceSpec {
  std::string name;
  int64_t memory_bytes = 0;  // what the CUDA runtime reports, not the figure on the box
  double memory_bytes_per_second = 0;
  double host_link_bytes_per_second = 0;  // one direction, after line coding
  double bf16_flops = 0;                  // FLOP/s, float32 accumulation
  double fp8_flops = 0;                   // 0: no such products
  double f32_flops = 0;                   // without TF32
};

// h100 (SXM5), h100-pcie, h200, a100 (SXM4, 80 GB), a100-40, l40s, rtx3090, rtx4090. Source:
// for h100 published tables of NVIDIA's data sheet; the other devices' figures were written down
// from memory of theirs and not looked up again. PCIe: 16 lanes at 16 or 32 GT/s, coded 128b/130b.
const std::vector<DeviceSpec>& KnownDevices();

// INVALID_ARGUMENT, listing the known ones.
absl::StatusOr<DeviceSpec> FindDevice(absl::string_view name);

}  // namespace lckv
