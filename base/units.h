#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace lckv {

// "64MiB", "1.5GiB", "4096", "10kB" -> bytes. Suffixes: B, kB MB GB TB (powers of 1000), KiB MiB
// GiB TiB (powers of 1024). INVALID_ARGUMENT for anything else, for negative values and for values
// over 2^62.
absl::StatusOr<int64_t> ParseBytes(absl::string_view text);

// 1536 -> "1.5 KiB": for people, three significant digits.
std::string FormatBytes(int64_t bytes);

constexpr int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }
constexpr int64_t RoundUp(int64_t value, int64_t multiple) {
  return CeilDiv(value, multiple) * multiple;
}

}  // namespace lckv
