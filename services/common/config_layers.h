#pragma once

// The values that a service's keys get from flags, the environment and a file.

#include <CLI/CLI.hpp>
#include <map>
#include <string>
#include <vector>

#include "services/common/config_file.h"

namespace lckv {

// A key is a configurable option with a long name, and is called by that name: --kv-memory is
// "kv-memory" in a file and LCKV_KV_MEMORY in the environment. Where an option has several long
// names, each is taken, and the first is the key.
//
// Layers are applied from the weakest to the strongest: each value is checked, converted and stored
// by its option, and overwrites what a weaker layer stored. So wrong values are found in every
// layer, also where a stronger one decides.
class ConfigLayers {
 public:
  struct Setting {
    std::vector<std::string> values;  // as written
    std::string source;               // of ConfigError
  };

  // `app`, whose options keep their defaults until a layer is applied, outlives this object.
  explicit ConfigLayers(CLI::App* app) : app_(app) {}

  // REQUIRES: ApplyFile before ApplyEnvironment before ApplyFlags; each at most once.
  // False when the file could not be read.
  bool ApplyFile(const std::string& path);
  // Entries "NAME=value". Empty values count as not set, lists are separated by commas. A name that
  // is nearly one of ours is an error, another LCKV_ name a warning: scripts, other services and
  // Kubernetes have theirs.
  void ApplyEnvironment(const std::vector<std::string>& environment);
  // `flags`: option's first long name -> values, as the command line gave them.
  void ApplyFlags(const std::map<std::string, std::vector<std::string>>& flags);
  // Once all are applied: required keys that are missing, and keys that need or exclude others.
  void CheckRequirements();
  // An error of `key`, with the key's source where it has one. No key: of the environment.
  void AddKeyError(const std::string& key, const std::string& message);
  void AddError(ConfigError error) { errors_.push_back(std::move(error)); }

  const CLI::App& app() const { return *app_; }
  const std::vector<ConfigError>& errors() const { return errors_; }
  // Environment variables that begin as ours and are no keys.
  const std::vector<std::string>& unknown_variables() const { return unknown_variables_; }
  // Null: the key has its default.
  const Setting* Find(const std::string& key) const;
  // How many keys have a value.
  size_t size() const { return settings_.size(); }

 private:
  void Apply(CLI::Option* option, Setting setting, const std::string& prefix);

  CLI::App* const app_;
  std::map<std::string, Setting> settings_;  // by key: the strongest layer's
  std::vector<ConfigError> errors_;
  std::vector<std::string> unknown_variables_;
};

// The configurable options, in the order of their declaration.
std::vector<CLI::Option*> ConfigOptions(CLI::App& app);
std::vector<const CLI::Option*> ConfigOptions(const CLI::App& app);
// The key of such an option: its first long name.
const std::string& KeyOf(const CLI::Option& option);
// "kv-memory" -> "LCKV_KV_MEMORY".
std::string VariableOf(const std::string& key);
bool IsList(const CLI::Option& option);
bool IsFlag(const CLI::Option& option);
// True when the values of the key must not be shown: by its name, so that none is forgotten. Keys
// that end in -secret, -password, -token or -api-key.
bool IsSecret(const std::string& key);

}  // namespace lckv
