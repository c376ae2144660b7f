#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace lckv {

// One step of a Jinja template, in a spelling that does not depend on how the author wrote it.
struct JinjaStep {
  enum class Kind {
    kText,       // output of a constant; constants that follow one another are one step
    kValue,      // output of any other expression
    kStatement,  // what stands between {% and %}
  };
  Kind kind;
  // kText: the text itself. Else code: no spaces but one between two words, strings in single
  // quotes, x['name'] as x.name.
  std::string text;

  friend bool operator==(const JinjaStep& a, const JinjaStep& b) {
    return a.kind == b.kind && a.text == b.text;
  }
};

// Cuts a template into steps, so that it can be compared with a known one; evaluates nothing. Sums
// (a + b, a ~ b) become steps of their own, comments vanish, white space around tags is trimmed as
// chat templates ask for it (`-` marks; trim_blocks and lstrip_blocks on, as in Hugging Face
// `transformers`). INVALID_ARGUMENT for a tag or string that does not end.
absl::StatusOr<std::vector<JinjaStep>> OutlineJinja(absl::string_view source);

}  // namespace lckv
