#include "engine/tokenizer/tokenizer_definition.h"

#include <cstddef>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace lckv {

absl::StatusOr<std::pair<std::string, std::string>> ParseMerge(absl::string_view text) {
  const size_t space = text.find(' ');
  if (space == absl::string_view::npos || space == 0 || space + 1 == text.size() ||
      text.find(' ', space + 1) != absl::string_view::npos) {
    return absl::InvalidArgumentError("not two token texts with a space between them");
  }
  return std::make_pair(std::string(text.substr(0, space)), std::string(text.substr(space + 1)));
}

}  // namespace lckv
