#pragma once

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace lckv::testing {

// Paths of committed test data: tests/golden/<name>, tests/data/<name>.
inline std::string GoldenPath(absl::string_view name) {
  return absl::StrCat(LCKV_SOURCE_DIR, "/tests/golden/", name);
}
inline std::string DataPath(absl::string_view name) {
  return absl::StrCat(LCKV_SOURCE_DIR, "/tests/data/", name);
}

}  // namespace lckv::testing
