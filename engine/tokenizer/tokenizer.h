#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace lckv {

// Text <-> token ids. Immutable after Load, so any thread may use one object.
class Tokenizer {
 public:
  struct EncodeOptions {
    // Put around the text what the file says: usually BOS in front, or nothing.
    bool add_special = false;
    // Special token strings in the text become their ids; else they are plain text. Added tokens
    // that are not special are always recognised.
    bool parse_special = false;
  };

  // From a file: tokenizer.json (Hugging Face `tokenizers`, model type BPE, byte level) or a GGUF
  // file with tokenizer.ggml.model "gpt2"; or a directory holding tokenizer.json. NOT_FOUND,
  // INVALID_ARGUMENT (malformed; the message names file and field), UNIMPLEMENTED (another model
  // type or pre-tokenizer).
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Load(const std::string& path);
  virtual ~Tokenizer() = default;

  // Ids of UTF-8 `text`; bytes that are no UTF-8 are read as U+FFFD per maximal subpart.
  // INVALID_ARGUMENT when the text is longer than 64 MiB.
  virtual absl::StatusOr<std::vector<int32_t>> Encode(absl::string_view text,
                                                      const EncodeOptions& options) const = 0;
  // Whole-sequence decoding: valid UTF-8, invalid bytes replaced by U+FFFD per maximal subpart.
  // Unknown ids are an OUT_OF_RANGE error.
  virtual absl::StatusOr<std::string> Decode(absl::Span<const int32_t> ids,
                                             bool skip_special) const = 0;

  // The raw bytes that token `id` stands for (added and special tokens: their text). Empty for ids
  // out of range.
  virtual absl::string_view TokenBytes(int32_t id) const = 0;
  virtual bool IsSpecial(int32_t id) const = 0;
  // The id of the token that stands for these bytes (e.g. "<|im_end|>"), or -1.
  virtual int32_t FindToken(absl::string_view content) const = 0;
  virtual int32_t vocab_size() const = 0;
  // The first token that add_special puts in front; -1 where it puts none (SmolLM2), even if the
  // file names a BOS token.
  virtual int32_t bos_token() const = 0;
  // The pre-tokenizer's split of plain text, for tests; empty when the pattern matcher gives up.
  virtual std::vector<std::string> PreTokenize(absl::string_view text) const = 0;
};

// Turns a stream of ids into text that may be shown at once: never half a UTF-8 sequence. Bytes
// that can no longer become valid are replaced by U+FFFD per maximal subpart. One per stream; not
// thread-safe. The tokenizer must outlive it.
class IncrementalDetokenizer {
 public:
  IncrementalDetokenizer(const Tokenizer* tokenizer, bool skip_special);
  // The new text that may be sent after `id`; may be empty.
  std::string Push(int32_t id);
  // What is held back at the end of the stream (an incomplete sequence becomes U+FFFD).
  std::string Flush();

 private:
  const Tokenizer* tokenizer_;
  bool skip_special_;
  std::string pending_;  // at most 3 bytes: the beginning of a UTF-8 sequence
};

}  // namespace lckv
