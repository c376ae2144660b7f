#include "services/common/config_layers.h"

#include <algorithm>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "services/common/nearest_name.h"

namespace lckv {
namespace {

constexpr absl::string_view kVariablePrefix = "LCKV_";
// Read by the client commands, and one letter away from a key of the gateway.
constexpr absl::string_view kClientKeyVariable = "LCKV_API_KEY";

// Every name of every key.
std::vector<std::string> KeyNames(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : ConfigOptions(app)) {
    names.insert(names.end(), option->get_lnames().begin(), option->get_lnames().end());
  }
  return names;
}

CLI::Option* OptionNamed(CLI::App& app, const std::string& name) {
  for (CLI::Option* option : ConfigOptions(app)) {
    if (option->check_lname(name)) return option;
  }
  return nullptr;
}

// What values of the option are, in words.
std::string TypeInWords(const CLI::Option& option) {
  if (IsFlag(option)) return "true or false";
  const std::string name = option.get_type_name();  // "INT:INT in [1 - 64]"
  const absl::string_view type = absl::string_view(name).substr(0, name.find(':'));
  if (type == "INT" || type == "UINT") return "a whole number";
  if (type == "FLOAT") return "a number";
  return std::string(type);
}

// What the option says of the values; nothing when it took them.
std::optional<std::string> TryValues(CLI::Option& option, const std::vector<std::string>& values) {
  if (!IsList(option) && values.size() > 1) return "wants one value";
  try {
    option.clear();
    option.add_result(values);
    option.run_callback();
    return std::nullopt;
  } catch (const CLI::ConversionError&) {
    return absl::StrCat("'", absl::StrJoin(values, ","), "' is not ", TypeInWords(option));
  } catch (const CLI::ParseError& error) {
    // The source names the option already.
    return std::string(absl::StripPrefix(error.what(), absl::StrCat("--", KeyOf(option), ": ")));
  }
}

std::vector<std::string> SplitList(absl::string_view text) {
  std::vector<std::string> elements;
  for (absl::string_view element : absl::StrSplit(text, ',')) {
    element = absl::StripAsciiWhitespace(element);
    if (!element.empty()) elements.emplace_back(element);
  }
  return elements;
}

// Kubernetes describes every Service to every container in variables such as
// LCKV_GATEWAY_SERVICE_HOST and LCKV_GATEWAY_PORT_8080_TCP_ADDR.
bool DescribesKubernetesService(absl::string_view name) {
  return absl::EndsWith(name, "_SERVICE_HOST") || absl::EndsWith(name, "_PORT") ||
         absl::StrContains(name, "_SERVICE_PORT_") || absl::StrContains(name, "_PORT_");
}

std::string UnknownMessage(const std::string& name, const std::string& nearest) {
  const std::string message = absl::StrCat("unknown key '", name, "'");
  return nearest.empty() ? message : absl::StrCat(message, ", did you mean '", nearest, "'?");
}

std::string Flag(const CLI::Option& option) { return absl::StrCat("--", KeyOf(option)); }

}  // namespace

bool ConfigLayers::ApplyFile(const std::string& path) {
  const absl::StatusOr<std::string> text = ReadConfigFile(path);
  if (!text.ok()) {
    AddError({path, std::string(text.status().message())});
    return false;
  }
  ConfigFile file = ParseConfigFile(*text, path);
  for (ConfigError& error : file.errors) AddError(std::move(error));
  const std::vector<std::string> names = KeyNames(*app_);
  std::set<std::string> given;
  for (ConfigFileEntry& entry : file.entries) {
    CLI::Option* option = OptionNamed(*app_, entry.key);
    if (option == nullptr) {
      AddError({entry.source, UnknownMessage(entry.key, NearestName(entry.key, names))});
    } else if (!given.insert(KeyOf(*option)).second) {
      AddError({entry.source, absl::StrCat("'", entry.key, "' is given twice: it is another name ",
                                           "of '", KeyOf(*option), "'")});
    } else if (entry.is_list && !IsList(*option)) {
      AddError({entry.source, absl::StrCat(entry.key, ": wants one value, not a list")});
    } else {
      Apply(option, {std::move(entry.values), entry.source}, absl::StrCat(entry.key, ": "));
    }
  }
  return true;
}

void ConfigLayers::ApplyEnvironment(const std::vector<std::string>& environment) {
  std::map<std::string, std::string> values;  // in the order of names, so that errors are too
  for (const std::string& entry : environment) {
    const size_t equals = entry.find('=');
    if (equals == std::string::npos || !absl::StartsWith(entry, kVariablePrefix)) continue;
    values.emplace(entry.substr(0, equals), entry.substr(equals + 1));
  }
  values.erase(VariableOf("config"));
  for (CLI::Option* option : ConfigOptions(*app_)) {
    for (const std::string& name : option->get_lnames()) {
      const auto found = values.find(VariableOf(name));
      if (found == values.end()) continue;
      const std::string text = std::exchange(found->second, "");
      const std::string source = absl::StrCat("environment ", found->first);
      values.erase(found);
      if (text.empty()) continue;
      Apply(option, {IsList(*option) ? SplitList(text) : std::vector<std::string>{text}, source},
            "");
    }
  }
  std::vector<std::string> names = KeyNames(*app_);
  std::transform(names.begin(), names.end(), names.begin(), VariableOf);
  for (const auto& [variable, value] : values) {
    if (variable == kClientKeyVariable || DescribesKubernetesService(variable)) continue;
    // Compared without the prefix, which would make every short name look alike.
    std::vector<std::string> ends;
    for (const std::string& name : names) ends.push_back(name.substr(kVariablePrefix.size()));
    const std::string nearest = NearestName(variable.substr(kVariablePrefix.size()), ends);
    if (nearest.empty()) {
      unknown_variables_.push_back(variable);
    } else {
      AddError({absl::StrCat("environment ", variable),
                absl::StrCat("unknown, did you mean ", kVariablePrefix, nearest, "?")});
    }
  }
}

void ConfigLayers::ApplyFlags(const std::map<std::string, std::vector<std::string>>& flags) {
  for (CLI::Option* option : ConfigOptions(*app_)) {
    const auto found = flags.find(KeyOf(*option));
    if (found == flags.end()) continue;
    Apply(option, {found->second, absl::StrCat("flag ", Flag(*option))}, "");
  }
}

void ConfigLayers::Apply(CLI::Option* option, Setting setting, const std::string& prefix) {
  if (setting.values.empty()) return;  // an empty list
  const std::string& key = KeyOf(*option);
  if (const std::optional<std::string> wrong = TryValues(*option, setting.values)) {
    AddError({setting.source, absl::StrCat(prefix, IsSecret(key) ? "wrong value" : *wrong)});
  }
  settings_[key] = std::move(setting);
}

void ConfigLayers::CheckRequirements() {
  for (const CLI::Option* option : ConfigOptions(std::as_const(*app_))) {
    const std::string& key = KeyOf(*option);
    if (Find(key) == nullptr) {
      if (option->get_required()) {
        AddKeyError(key, absl::StrCat("is required, or ", VariableOf(key), ", or '", key,
                                      "' in the file: ", option->get_description()));
      }
      continue;
    }
    for (const CLI::Option* needed : option->get_needs()) {
      if (Find(KeyOf(*needed)) == nullptr) {
        AddKeyError(key, absl::StrCat("needs --", KeyOf(*needed)));
      }
    }
    for (const CLI::Option* excluded : option->get_excludes()) {
      if (Find(KeyOf(*excluded)) != nullptr) {
        AddKeyError(key, absl::StrCat("excludes --", KeyOf(*excluded)));
      }
    }
  }
}

void ConfigLayers::AddKeyError(const std::string& key, const std::string& message) {
  if (key.empty()) return AddError({"environment", message});
  const Setting* setting = Find(key);
  // A file's source does not name the key.
  const bool named = setting != nullptr && (absl::StartsWith(setting->source, "flag ") ||
                                            absl::StartsWith(setting->source, "environment "));
  if (named) {
    AddError({setting->source, message});
  } else if (setting != nullptr) {
    AddError({setting->source, absl::StrCat(key, ": ", message)});
  } else {
    AddError({absl::StrCat("--", key), message});
  }
}

const ConfigLayers::Setting* ConfigLayers::Find(const std::string& key) const {
  const auto found = settings_.find(key);
  return found == settings_.end() ? nullptr : &found->second;
}

std::vector<CLI::Option*> ConfigOptions(CLI::App& app) {
  return app.get_options([](const CLI::Option* option) {
    return option->get_configurable() && !option->get_lnames().empty();
  });
}

std::vector<const CLI::Option*> ConfigOptions(const CLI::App& app) {
  return app.get_options([](const CLI::Option* option) {
    return option->get_configurable() && !option->get_lnames().empty();
  });
}

const std::string& KeyOf(const CLI::Option& option) { return option.get_lnames().front(); }

std::string VariableOf(const std::string& key) {
  return absl::StrCat(kVariablePrefix,
                      absl::StrReplaceAll(absl::AsciiStrToUpper(key), {{"-", "_"}}));
}

bool IsList(const CLI::Option& option) { return option.get_items_expected_max() > 1; }

bool IsFlag(const CLI::Option& option) { return option.get_expected_min() == 0; }

bool IsSecret(const std::string& key) {
  for (const absl::string_view end : {"secret", "password", "token", "api-key"}) {
    if (key == end || absl::EndsWith(key, absl::StrCat("-", end))) return true;
  }
  return false;
}

}  // namespace lckv
