#pragma once

#include "absl/status/statusor.h"
#include "engine/model/gguf_file.h"
#include "engine/tokenizer/tokenizer_definition.h"

namespace lckv {

// Reads the byte-level vocabulary that a GGUF file carries in its `tokenizer.ggml.*` metadata:
// model "gpt2" with pre "gpt-2", "smollm" or "default". Token types: normal 1; unknown 2 and
// control 3 are special; user-defined 4 are added; unused 5. INVALID_ARGUMENT when a key is
// malformed, UNIMPLEMENTED for another model or pre; the message names file and key.
absl::StatusOr<TokenizerDefinition> ReadGgufVocabulary(const GgufFile& file);

}  // namespace lckv
