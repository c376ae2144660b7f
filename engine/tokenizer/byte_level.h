#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace lckv {

// The alphabet in which byte-level vocabularies write bytes (GPT-2): each of the 256 bytes is one
// printable character. Bytes that are printable in Latin-1 stand for themselves; the other 68, in
// order, are U+0100, U+0101, …: a space is U+0120, "Ġ".

// The character of `byte`, in UTF-8.
std::string ByteLevelCharacter(uint8_t byte);

// The bytes that `text` writes; nullopt when it holds a character outside the alphabet.
std::optional<std::string> BytesFromByteLevel(absl::string_view text);

}  // namespace lckv
