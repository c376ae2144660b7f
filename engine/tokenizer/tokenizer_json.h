#pragma once

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/tokenizer/tokenizer_definition.h"

namespace lckv {

// Reads the text of a tokenizer.json (the format of Hugging Face `tokenizers`, version "1.0"):
// model BPE; pre-tokenizer ByteLevel, alone or after Digits; decoder ByteLevel; no normalizer;
// post-processor none, ByteLevel, TemplateProcessing or a Sequence of these. `truncation` and
// `padding` are not applied: they are about batches for training. Added tokens marked `normalized`
// are matched together with the others: without a normalizer the difference shows only where two
// added tokens overlap. INVALID_ARGUMENT when the text is malformed, UNIMPLEMENTED for parts not
// named above; the message names the field.
absl::StatusOr<TokenizerDefinition> ReadTokenizerJson(absl::string_view text);

}  // namespace lckv
