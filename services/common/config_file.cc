#include "services/common/config_file.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace lckv {
namespace {

// Follows the file's text, a comment: without it the parser ends a quote that is open at the end of
// the last line, and takes all that is left for its text.
constexpr absl::string_view kEnd = "\n# end";

// Collects a flat mapping from the parser's events. No event expands an alias, so the work is
// bounded by the file's length.
class FlatMapping : public YAML::EventHandler {
 public:
  FlatMapping(absl::string_view name, ConfigFile* file) : name_(name), file_(file) {}

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    if (depth_ == 0) return;  // an empty file: no settings
    if (!TakesNode(mark, "", anchor)) return;
    if (depth_ == 1 && expects_value_) {
      Error(mark_of_key_, absl::StrCat("'", key_, "' has no value; write \"\" for an empty one"));
      expects_value_ = false;
    } else {
      OnScalar(mark, "", YAML::NullAnchor, "");
    }
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    if (skipped_ > 0) return;
    Error(mark, "aliases (*name) are not taken");
    SkipNode();
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    if (!TakesNode(mark, tag, anchor)) return;
    if (depth_ == 0) return NotAMapping(mark);
    if (depth_ == 2) {
      if (value.empty()) return Error(mark, absl::StrCat("'", key_, "' has an empty element"));
      values_.push_back(value);
    } else if (expects_value_) {
      AddEntry({value}, /*is_list=*/false);
    } else {
      if (value.empty()) Error(mark, "a key must be a name");
      key_ = value;
      mark_of_key_ = mark;
      expects_value_ = true;
    }
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    if (skipped_ > 0) {
      ++skipped_;
      return;
    }
    const bool takes = TakesNode(mark, tag, anchor);
    if (takes && depth_ == 1 && expects_value_) {
      depth_ = 2;
      return;
    }
    if (takes) NestedNode(mark);
    skipped_ = 1;
  }

  void OnSequenceEnd() override {
    if (EndsSkipped()) return;
    AddEntry(std::exchange(values_, {}), /*is_list=*/true);
    depth_ = 1;
  }

  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    if (skipped_ > 0) {
      ++skipped_;
      return;
    }
    const bool takes = TakesNode(mark, tag, anchor);
    if (takes && depth_ == 0) {
      depth_ = 1;
      return;
    }
    if (takes) NestedNode(mark);
    skipped_ = 1;
  }

  void OnMapEnd() override {
    if (!EndsSkipped()) depth_ = 0;
  }

  void Error(const YAML::Mark& mark, std::string message) {
    // A mark counts lines from 0; -1: unknown.
    file_->errors.push_back({mark.line < 0 ? name_ : Source(mark), std::move(message)});
  }

 private:
  std::string Source(const YAML::Mark& mark) const {
    return absl::StrCat(name_, ":", mark.line + 1);
  }

  // False for a node that is not looked at: one inside of something wrong, or one that is marked.
  bool TakesNode(const YAML::Mark& mark, absl::string_view tag, YAML::anchor_t anchor) {
    if (skipped_ > 0) return false;
    // Tags that nobody wrote: "?" of a plain scalar or a collection, "!" of a quoted one.
    if (tag.size() > 1) {
      Error(mark, absl::StrCat("tags (", tag, ") are not taken"));
    } else if (anchor != YAML::NullAnchor) {
      Error(mark, "anchors (&name) are not taken");
    } else {
      return true;
    }
    SkipNode();
    return false;
  }

  // A wrong node stands for a key, whose value is dropped as well, or for a value.
  void SkipNode() {
    if (depth_ != 1) return;
    expects_value_ = !expects_value_;
    if (expects_value_) key_.clear();
  }

  void NotAMapping(const YAML::Mark& mark) { Error(mark, "want lines of the form 'key: value'"); }

  void NestedNode(const YAML::Mark& mark) {
    if (depth_ == 0) {
      NotAMapping(mark);
    } else if (depth_ == 1 && !expects_value_) {
      Error(mark, "a key must be a name");
    } else {
      Error(mark, absl::StrCat("'", key_, "' wants one value or a list of values, nothing nested"));
    }
    SkipNode();
  }

  bool EndsSkipped() {
    if (skipped_ == 0) return false;
    --skipped_;
    return true;
  }

  void AddEntry(std::vector<std::string> values, bool is_list) {
    expects_value_ = false;
    if (key_.empty()) return;  // was wrong, and is reported
    const auto [first, is_new] = lines_.emplace(key_, mark_of_key_.line + 1);
    if (!is_new) {
      Error(mark_of_key_,
            absl::StrCat("'", key_, "' is given twice, first in line ", first->second));
      return;
    }
    file_->entries.push_back({key_, Source(mark_of_key_), std::move(values), is_list});
  }

  const std::string name_;
  ConfigFile* const file_;
  int depth_ = 0;               // 1: in the mapping, 2: in a list
  int skipped_ = 0;             // open nodes inside of something wrong
  bool expects_value_ = false;  // of key_
  std::string key_;
  YAML::Mark mark_of_key_;
  std::vector<std::string> values_;  // of the open list
  absl::flat_hash_map<std::string, int> lines_;
};

// The parser takes some control characters as an end of the file.
bool CheckIsText(absl::string_view text, absl::string_view name, ConfigFile* file) {
  const auto wrong = std::find_if(text.begin(), text.end(), [](char c) {
    return static_cast<unsigned char>(c) < 0x20 && c != '\t' && c != '\n' && c != '\r';
  });
  if (wrong == text.end()) return true;
  const auto line = 1 + std::count(text.begin(), wrong, '\n');
  file->errors.push_back(
      {absl::StrCat(name, ":", line),
       absl::StrCat("not a text file: a byte 0x", absl::BytesToHexString({&*wrong, 1}))});
  return false;
}

}  // namespace

absl::StatusOr<std::string> ReadConfigFile(const std::string& path) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) {
    return absl::InvalidArgumentError("is a folder");
  }
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::ErrnoToStatus(errno == 0 ? ENOENT : errno, "cannot be opened");
  std::string text(kMaxConfigFileBytes + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (file.bad()) return absl::ErrnoToStatus(errno == 0 ? EIO : errno, "cannot be read");
  text.resize(static_cast<size_t>(file.gcount()));
  if (text.size() > kMaxConfigFileBytes) {
    return absl::ResourceExhaustedError(
        absl::StrCat("is larger than ", kMaxConfigFileBytes, " bytes"));
  }
  return text;
}

ConfigFile ParseConfigFile(absl::string_view text, absl::string_view name) {
  ConfigFile file;
  if (!CheckIsText(text, name, &file)) return file;
  FlatMapping mapping(name, &file);
  try {
    std::istringstream stream(absl::StrCat(text, kEnd));
    YAML::Parser parser(stream);
    if (!parser.HandleNextDocument(mapping)) return file;
    if (parser.HandleNextDocument(mapping)) {
      file.errors.push_back({std::string(name), "want one YAML document, not several"});
    }
  } catch (const YAML::Exception& error) {
    YAML::Mark mark = error.mark;
    const auto lines = std::count(text.begin(), text.end(), '\n');
    const auto last = lines - (absl::EndsWith(text, "\n") ? 1 : 0);
    mark.line = std::min(mark.line, static_cast<int>(last));
    mapping.Error(mark, absl::StrCat("not YAML: ", error.msg));
  }
  return file;
}

}  // namespace lckv
