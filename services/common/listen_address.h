#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace lckv {

// Where a server listens or is reached: "host:port", "[v6 address]:port".
struct ListenAddress {
  std::string host;  // with the brackets of a v6 address
  uint16_t port = 0;
};

// INVALID_ARGUMENT when there is no host, no port, or a port over 65535.
absl::StatusOr<ListenAddress> ParseListenAddress(absl::string_view text);

}  // namespace lckv
