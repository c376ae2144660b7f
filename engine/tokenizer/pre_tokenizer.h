#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace lckv {

// The published split patterns, as PCRE2 writes them (Unicode properties; U+180E is no white space,
// unlike in PCRE2's \s). Each matches in linear time: no alternative can fail after more than one
// character of backtracking.
inline constexpr absl::string_view kGpt2Pattern =
    R"('(?:[stmd]|re|ve|ll)| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+)"
    R"(|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+)";
inline constexpr absl::string_view kSingleDigitPattern = R"(\p{N})";
inline constexpr absl::string_view kDigitRunPattern = R"(\p{N}+)";

// The split of GGUF files whose `tokenizer.ggml.pre` is "default", as llama.cpp reads them:
// punctuation, then GPT-2, then numbers, then groups of three ASCII digits.
std::vector<std::string> GgmlDefaultPatterns();

// Cuts text into pre-tokens: BPE never joins bytes across a cut. A list of patterns is applied in
// order; each cuts every piece that the ones before it left, and both its matches and the gaps
// between them become pieces. A pattern sees one piece at a time: its lookahead ends there.
// Immutable; thread-safe (match state is made per call).
class PreTokenizer {
 public:
  // INVALID_ARGUMENT when a pattern does not compile. No pattern: text stays whole.
  static absl::StatusOr<PreTokenizer> Create(const std::vector<std::string>& patterns);

  // Calls `emit` with the pieces of `text` in order; they are not empty and join to `text`.
  // REQUIRES: text is valid UTF-8. RESOURCE_EXHAUSTED when PCRE2 runs out of memory or reaches a
  // match limit; pieces emitted before stay emitted.
  absl::Status Split(absl::string_view text, absl::FunctionRef<void(absl::string_view)> emit) const;

 private:
  class Pattern;
  class Pass;

  PreTokenizer() = default;
  std::vector<std::shared_ptr<const Pattern>> patterns_;
};

}  // namespace lckv
