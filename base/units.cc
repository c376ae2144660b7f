#include "base/units.h"

#include <array>
#include <cmath>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"

namespace lckv {
namespace {

// Longest suffixes first, so that "KiB" is not read as "B".
constexpr std::array<std::pair<const char*, double>, 9> kUnits = {{
    {"KiB", 1024.0},
    {"MiB", 1024.0 * 1024},
    {"GiB", 1024.0 * 1024 * 1024},
    {"TiB", 1024.0 * 1024 * 1024 * 1024},
    {"kB", 1e3},
    {"MB", 1e6},
    {"GB", 1e9},
    {"TB", 1e12},
    {"B", 1.0},
}};

}  // namespace

absl::StatusOr<int64_t> ParseBytes(absl::string_view text) {
  absl::string_view number = text;
  double factor = 1;
  for (const auto& [suffix, bytes] : kUnits) {
    if (absl::ConsumeSuffix(&number, suffix)) {
      factor = bytes;
      break;
    }
  }
  double value = 0;
  if (!absl::SimpleAtod(number, &value) || !std::isfinite(value) || value < 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "not a size: \"", text, "\" (expected a number and B, KiB, MiB, GiB, kB, MB or GB)"));
  }
  const double bytes = value * factor;
  if (bytes > 0x1p62)
    return absl::InvalidArgumentError(absl::StrCat("size too large: \"", text, "\""));
  return static_cast<int64_t>(bytes);
}

std::string FormatBytes(int64_t bytes) {
  static constexpr std::array<const char*, 5> kNames = {"B", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  while (std::abs(value) >= 1024 && unit + 1 < kNames.size()) {
    value /= 1024;
    ++unit;
  }
  // %.3g would write 1000 to 1023 with an exponent.
  if (std::abs(value) >= 999.5) return absl::StrFormat("%.0f %s", value, kNames[unit]);
  return absl::StrFormat("%.3g %s", value, kNames[unit]);
}

}  // namespace lckv
