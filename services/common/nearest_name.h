#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace lckv {

// The letters to insert, delete, replace or swap with their neighbour that lead from `a` to `b`;
// limit + 1 when there are more than `limit`.
int EditDistance(absl::string_view a, absl::string_view b, int limit);

// The name that whoever wrote `text` most likely meant: the first of the nearest ones, unless more
// than a third of it is different, or more than two letters. Empty: none.
std::string NearestName(absl::string_view text, const std::vector<std::string>& names);

}  // namespace lckv
