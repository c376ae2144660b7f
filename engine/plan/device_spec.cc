#include "engine/plan/device_spec.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace lckv {
namespace {

constexpr double kPcie4 = 31.5e9;
constexpr double kPcie5 = 63.0e9;

constexpr int64_t TenthsOfGib(int64_t tenths) { return tenths * (int64_t{1} << 30) / 10; }

}  // namespace

const std::vector<DeviceSpec>& KnownDevices() {
  static const auto* const devices = new std::vector<DeviceSpec>{
      {"h100", TenthsOfGib(791), 3.35e12, kPcie5, 989.4e12, 1978.9e12, 66.9e12},
      {"h100-pcie", TenthsOfGib(791), 2.0e12, kPcie5, 756e12, 1513e12, 51e12},
      {"h200", TenthsOfGib(1397), 4.8e12, kPcie5, 989.4e12, 1978.9e12, 66.9e12},
      {"a100", TenthsOfGib(791), 2.039e12, kPcie4, 312e12, 0, 19.5e12},
      {"a100-40", TenthsOfGib(393), 1.555e12, kPcie4, 312e12, 0, 19.5e12},
      {"l40s", TenthsOfGib(443), 0.864e12, kPcie4, 362e12, 733e12, 91.6e12},
      {"rtx3090", TenthsOfGib(236), 0.936e12, kPcie4, 71e12, 0, 35.6e12},
      {"rtx4090", TenthsOfGib(236), 1.008e12, kPcie4, 165.2e12, 330.3e12, 82.6e12},
  };
  return *devices;
}

absl::StatusOr<DeviceSpec> FindDevice(absl::string_view name) {
  for (const DeviceSpec& device : KnownDevices()) {
    if (device.name == name) return device;
  }
  const auto append_name = [](std::string* out, const DeviceSpec& device) {
    absl::StrAppend(out, device.name);
  };
  return absl::InvalidArgumentError(absl::StrCat("unknown device \"", name, "\"; known are ",
                                                 absl::StrJoin(KnownDevices(), ", ", append_name)));
}

}  // namespace lckv
