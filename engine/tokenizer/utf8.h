#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace lckv {

// UTF-8 as Unicode defines it (table 3-7 of the standard): no overlong forms, no surrogates,
// nothing above U+10FFFF.
enum class Utf8Kind {
  kValid,       // one well-formed sequence
  kInvalid,     // a maximal subpart of an ill-formed sequence: becomes one U+FFFD
  kIncomplete,  // the beginning of a sequence that the end of the bytes cuts
};
struct Utf8Unit {
  Utf8Kind kind;
  int length_bytes;  // 1..4
};

// U+FFFD, the replacement character.
inline constexpr absl::string_view kReplacementCharacter = "\xEF\xBF\xBD";

// The unit that `bytes` begins with. REQUIRES: bytes is not empty.
Utf8Unit NextUtf8Unit(absl::string_view bytes);

// The text of `bytes`, U+FFFD for each maximal invalid subpart, up to an incomplete sequence at the
// end, which is left in
// `*rest` (a view into `bytes`, at most 3 bytes).
std::string TakeUtf8(absl::string_view bytes, absl::string_view* rest);

// The text of all of `bytes`: as above, and an incomplete sequence at the end is one U+FFFD.
std::string ReplaceInvalidUtf8(absl::string_view bytes);

}  // namespace lckv
