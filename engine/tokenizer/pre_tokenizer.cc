#include "engine/tokenizer/pre_tokenizer.h"

// PCRE2 wants to know its character type before its header is read.
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <cstddef>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"

namespace lckv {
namespace {

struct FreeCode {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
};
struct FreeMatchData {
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};
using MatchData = std::unique_ptr<pcre2_match_data, FreeMatchData>;

std::string ErrorText(int error) {
  PCRE2_UCHAR buffer[256];
  if (pcre2_get_error_message(error, buffer, sizeof(buffer)) < 0) {
    return absl::StrCat("PCRE2 error ", error);
  }
  return reinterpret_cast<const char*>(buffer);
}

}  // namespace

std::vector<std::string> GgmlDefaultPatterns() {
  return {R"([\p{P}$+<=>^~|]+)",
          R"('(?:[stmd]|re|ve|ll)| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+)"
          R"(|\p{White_Space}+(?!\P{White_Space}))",
          std::string(kDigitRunPattern), "[0-9][0-9][0-9]"};
}

class PreTokenizer::Pattern {
 public:
  static absl::StatusOr<std::shared_ptr<const Pattern>> Compile(absl::string_view text) {
    int error = 0;
    PCRE2_SIZE error_offset = 0;
    std::unique_ptr<pcre2_code, FreeCode> code(
        pcre2_compile(reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), PCRE2_UTF | PCRE2_UCP,
                      &error, &error_offset, nullptr));
    if (code == nullptr) {
      return absl::InvalidArgumentError(
          absl::StrCat("split pattern, at byte ", error_offset, ": ", ErrorText(error)));
    }
    // Where the machine has no JIT (or forbids it), PCRE2 interprets the pattern: slower, same
    // result.
    (void)pcre2_jit_compile(code.get(), PCRE2_JIT_COMPLETE);
    return std::make_shared<const Pattern>(std::move(code));
  }

  explicit Pattern(std::unique_ptr<pcre2_code, FreeCode> code) : code_(std::move(code)) {}
  const pcre2_code* code() const { return code_.get(); }

 private:
  std::unique_ptr<pcre2_code, FreeCode> code_;
};

// One call of Split: match state for each pattern, since the patterns nest.
class PreTokenizer::Pass {
 public:
  Pass(const std::vector<std::shared_ptr<const Pattern>>& patterns,
       absl::FunctionRef<void(absl::string_view)> emit)
      : patterns_(patterns), emit_(emit) {}

  absl::Status Allocate() {
    for (size_t i = 0; i < patterns_.size(); ++i) {
      match_data_.emplace_back(pcre2_match_data_create(1, nullptr));
      if (match_data_.back() == nullptr) {
        return absl::ResourceExhaustedError("pre-tokenizer: no memory for match data");
      }
    }
    return absl::OkStatus();
  }

  // Cuts `piece` with the patterns from number `index` on.
  absl::Status Cut(absl::string_view piece, size_t index) {
    if (piece.empty()) return absl::OkStatus();
    if (index == patterns_.size()) {
      emit_(piece);
      return absl::OkStatus();
    }
    pcre2_match_data* const match = match_data_[index].get();
    size_t position = 0;
    while (position < piece.size()) {
      // The caller's text is valid: a check here would read the rest of it again for every match.
      const int count =
          pcre2_match(patterns_[index]->code(), reinterpret_cast<PCRE2_SPTR>(piece.data()),
                      piece.size(), position, PCRE2_NO_UTF_CHECK, match, nullptr);
      if (count == PCRE2_ERROR_NOMATCH) break;
      if (count < 0) {
        return absl::ResourceExhaustedError(absl::StrCat("pre-tokenizer: ", ErrorText(count)));
      }
      const PCRE2_SIZE* const bounds = pcre2_get_ovector_pointer(match);
      const size_t begin = bounds[0];
      const size_t end = bounds[1];
      LCKV_CHECK(begin >= position && end > begin);
      LCKV_RETURN_IF_ERROR(Cut(piece.substr(position, begin - position), index + 1));
      LCKV_RETURN_IF_ERROR(Cut(piece.substr(begin, end - begin), index + 1));
      position = end;
    }
    return Cut(piece.substr(position), index + 1);
  }

 private:
  const std::vector<std::shared_ptr<const Pattern>>& patterns_;
  absl::FunctionRef<void(absl::string_view)> emit_;
  std::vector<MatchData> match_data_;
};

absl::StatusOr<PreTokenizer> PreTokenizer::Create(const std::vector<std::string>& patterns) {
  PreTokenizer pre_tokenizer;
  for (const std::string& text : patterns) {
    LCKV_ASSIGN_OR_RETURN(std::shared_ptr<const Pattern> pattern, Pattern::Compile(text));
    pre_tokenizer.patterns_.push_back(std::move(pattern));
  }
  return pre_tokenizer;
}

absl::Status PreTokenizer::Split(absl::string_view text,
                                 absl::FunctionRef<void(absl::string_view)> emit) const {
  Pass pass(patterns_, emit);
  LCKV_RETURN_IF_ERROR(pass.Allocate());
  return pass.Cut(text, 0);
}

}  // namespace lckv
