#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "engine/plan/device_spec.h"

namespace lckv::bench {

// What the machine does without the engine, measured in the same run by plain library calls; 0: not
// measured. GPU: cudaMemcpy within the device and from and to pinned host memory, one bf16 product
// of cuBLAS. Host: memcpy on every core.
struct MachineRates {
  std::string device;  // the driver's name; empty: the host
  std::string driver;
  int64_t memory_bytes = 0;
  int64_t free_bytes = 0;
  double copy_bytes_per_second = 0;  // read and written bytes counted
  double to_device_bytes_per_second = 0;
  double to_host_bytes_per_second = 0;
  double bf16_flops = 0;
  std::string note;  // what could not be measured, and why
};

MachineRates MeasureHost();
// GPU `ordinal`. In builds without CUDA, or without the device: a note.
MachineRates MeasureGpu(int ordinal);

// The data sheet of a device by the driver's name; nothing for one that the plan does not know.
std::optional<DeviceSpec> SheetOf(absl::string_view device);

}  // namespace lckv::bench
