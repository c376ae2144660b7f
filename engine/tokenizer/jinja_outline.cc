#include "engine/tokenizer/jinja_outline.h"

#include <cstddef>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace lckv {
namespace {

constexpr absl::string_view kWhiteSpace = " \t\r\n";

bool IsWordCharacter(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_';
}

// The length of the string literal that `code` begins with, quotes included; 0 when it does not
// end.
size_t LiteralLength(absl::string_view code) {
  for (size_t i = 1; i < code.size(); ++i) {
    if (code[i] == '\\') {
      ++i;
    } else if (code[i] == code[0]) {
      return i + 1;
    }
  }
  return 0;
}

// The text that a string literal (quotes included) stands for.
std::string LiteralText(absl::string_view literal) {
  std::string text;
  for (size_t i = 1; i + 1 < literal.size(); ++i) {
    if (literal[i] != '\\') {
      text.push_back(literal[i]);
      continue;
    }
    ++i;
    switch (literal[i]) {
      case 'n':
        text.push_back('\n');
        break;
      case 't':
        text.push_back('\t');
        break;
      case 'r':
        text.push_back('\r');
        break;
      default:  // \\ \' \"; escapes that chat templates do not use keep their letter
        text.push_back(literal[i]);
    }
  }
  return text;
}

// Code in the one spelling that JinjaStep promises. REQUIRES: every string literal in `code` ends.
std::string NormalizeCode(absl::string_view code) {
  constexpr size_t kNone = std::string::npos;
  std::string normal;
  bool space = false;
  size_t literal = kNone;  // where in `normal` the literal begins that was appended last
  while (!code.empty()) {
    size_t length = 1;
    const char c = code[0];
    if (kWhiteSpace.find(c) != absl::string_view::npos) {
      space = true;
      code.remove_prefix(1);
      continue;
    }
    if (c == '\'' || c == '"') {
      length = LiteralLength(code);
      literal = normal.size();
      absl::StrAppend(&normal, "'", code.substr(1, length - 2), "'");
    } else if (c == ']' && literal != kNone && literal > 0 && normal[literal - 1] == '[') {
      // x['name'] is x.name.
      const std::string name = normal.substr(literal + 1, normal.size() - literal - 2);
      normal.resize(literal - 1);
      absl::StrAppend(&normal, ".", name);
      literal = kNone;
    } else {
      if (space && !normal.empty() && IsWordCharacter(normal.back()) && IsWordCharacter(c)) {
        normal.push_back(' ');
      }
      normal.push_back(c);
      literal = kNone;
    }
    space = false;
    code.remove_prefix(length);
  }
  return normal;
}

class Outliner {
 public:
  explicit Outliner(absl::string_view source) : source_(source) {
    // Jinja drops one newline at the end of a template.
    if (!source_.empty() && source_.back() == '\n') source_.remove_suffix(1);
  }

  absl::StatusOr<std::vector<JinjaStep>> Run() {
    while (position_ < source_.size()) {
      const size_t tag = FindTag();
      AddText(source_.substr(position_, TextEnd(tag) - position_));
      position_ = tag;
      if (tag < source_.size()) LCKV_RETURN_IF_ERROR(ReadTag());
    }
    return std::move(steps_);
  }

 private:
  bool IsBlank(size_t at) const { return source_[at] == ' ' || source_[at] == '\t'; }
  bool IsSpace(size_t at) const { return kWhiteSpace.find(source_[at]) != absl::string_view::npos; }

  // The next {{, {% or {#, or the end.
  size_t FindTag() const {
    size_t brace = source_.find('{', position_);
    while (brace != absl::string_view::npos) {
      const char next = brace + 1 < source_.size() ? source_[brace + 1] : '\0';
      if (next == '{' || next == '%' || next == '#') return brace;
      brace = source_.find('{', brace + 1);
    }
    return source_.size();
  }

  // Where the text before the tag at `tag` ends, once trimmed as the tag asks for.
  size_t TextEnd(size_t tag) const {
    if (tag == source_.size()) return tag;
    size_t end = tag;
    if (tag + 2 < source_.size() && source_[tag + 2] == '-') {
      while (end > position_ && IsSpace(end - 1)) --end;
      return end;
    }
    if (source_[tag + 1] == '{') return tag;
    // Blanks before a block go when nothing else stands before it on its line.
    while (end > position_ && IsBlank(end - 1)) --end;
    return end == 0 || source_[end - 1] == '\n' ? end : tag;
  }

  // Reads the tag at position_ and the white space that it trims behind it.
  absl::Status ReadTag() {
    const size_t tag = position_;
    const char kind = source_[tag + 1];
    LCKV_ASSIGN_OR_RETURN(const size_t end, FindTagEnd(tag));
    absl::string_view code = source_.substr(tag + 2, end - tag - 2);
    if (!code.empty() && code.front() == '-') code.remove_prefix(1);
    const bool trim = !code.empty() && code.back() == '-';
    if (trim) code.remove_suffix(1);
    if (kind == '{') AddExpression(code);
    if (kind == '%') steps_.push_back({JinjaStep::Kind::kStatement, NormalizeCode(code)});

    position_ = end + 2;
    if (trim) {
      while (position_ < source_.size() && IsSpace(position_)) ++position_;
    } else if (kind != '{' && position_ < source_.size() && source_[position_] == '\n') {
      ++position_;
    }
    return absl::OkStatus();
  }

  // The position of the }}, %} or #} that ends the tag at `tag`; string literals may hold such
  // characters.
  absl::StatusOr<size_t> FindTagEnd(size_t tag) const {
    const char kind = source_[tag + 1];
    const char closing = kind == '{' ? '}' : kind;
    for (size_t i = tag + 2; i + 1 < source_.size(); ++i) {
      if (source_[i] == closing && source_[i + 1] == '}') return i;
      if (kind != '#' && (source_[i] == '\'' || source_[i] == '"')) {
        const size_t length = LiteralLength(source_.substr(i));
        if (length == 0) break;
        i += length - 1;
      }
    }
    return absl::InvalidArgumentError(absl::StrCat("the tag at byte ", tag, " does not end"));
  }

  // The terms of a sum at its outermost level, one step each.
  void AddExpression(absl::string_view code) {
    int depth = 0;
    size_t begin = 0;
    for (size_t i = 0; i < code.size(); ++i) {
      if (code[i] == '\'' || code[i] == '"') {
        i += LiteralLength(code.substr(i)) - 1;
      } else if (code[i] == '(' || code[i] == '[') {
        ++depth;
      } else if (code[i] == ')' || code[i] == ']') {
        --depth;
      } else if (depth == 0 && (code[i] == '+' || code[i] == '~')) {
        AddTerm(code.substr(begin, i - begin));
        begin = i + 1;
      }
    }
    AddTerm(code.substr(begin));
  }

  void AddTerm(absl::string_view code) {
    code = absl::StripAsciiWhitespace(code);
    const bool literal =
        !code.empty() && (code[0] == '\'' || code[0] == '"') && LiteralLength(code) == code.size();
    if (literal) {
      AddText(LiteralText(code));
    } else {
      steps_.push_back({JinjaStep::Kind::kValue, NormalizeCode(code)});
    }
  }

  void AddText(absl::string_view text) {
    if (text.empty()) return;
    if (steps_.empty() || steps_.back().kind != JinjaStep::Kind::kText) {
      steps_.push_back({JinjaStep::Kind::kText, std::string()});
    }
    absl::StrAppend(&steps_.back().text, text);
  }

  absl::string_view source_;
  size_t position_ = 0;
  std::vector<JinjaStep> steps_;
};

}  // namespace

absl::StatusOr<std::vector<JinjaStep>> OutlineJinja(absl::string_view source) {
  return Outliner(source).Run();
}

}  // namespace lckv
