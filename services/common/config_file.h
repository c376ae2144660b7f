#pragma once

// Configuration files: a flat YAML mapping from keys to values or lists of values.
//
//   kv-memory: 85%
//   worker: [10.0.0.1:8081, "10.0.0.2:8081"]

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace lckv {

// What is wrong, and where: "flag --kv-memory", "environment LCKV_KV_MEMORY", "worker.yaml:3".
struct ConfigError {
  std::string source;
  std::string message;
};

struct ConfigFileEntry {
  std::string key;
  std::string source;               // "worker.yaml:3"
  std::vector<std::string> values;  // as written, without quotes; one unless it is a list
  bool is_list = false;
};

struct ConfigFile {
  std::vector<ConfigFileEntry> entries;  // in the file's order, no key twice
  std::vector<ConfigError> errors;
};

inline constexpr size_t kMaxConfigFileBytes = 1 << 20;

// The file's text. NOT_FOUND, PERMISSION_DENIED, INVALID_ARGUMENT (a folder), RESOURCE_EXHAUSTED
// (over kMaxConfigFileBytes), or what absl::ErrnoToStatus makes of a read that fails.
absl::StatusOr<std::string> ReadConfigFile(const std::string& path);

// What is wrong in `text` is reported with "`name`:line": bytes that are not text, what is not
// YAML, anything but one flat mapping, keys given twice, keys without a value, and YAML's anchors,
// aliases and tags, which a flat list of settings needs for nothing. Never throws. What is right
// besides is returned all the same.
ConfigFile ParseConfigFile(absl::string_view text, absl::string_view name);

}  // namespace lckv
