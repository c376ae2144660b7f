#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace lckv {

// Token ids from a file {"tokens": [...]}. NOT_FOUND; INVALID_ARGUMENT: malformed, no tokens, or
// something that is no token id. Messages name the file.
absl::StatusOr<std::vector<int32_t>> ReadTokenFile(const std::string& path);

}  // namespace lckv
