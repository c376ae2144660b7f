#include "services/common/config_output.h"

#include <algorithm>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"

namespace lckv {
namespace {

constexpr absl::string_view kMask = "********";

std::string DefaultOf(const CLI::Option& option) {
  if (option.get_default_str().empty() && IsFlag(option)) return "false";
  return option.get_default_str();
}

std::string YamlValue(const CLI::Option& option, const ConfigLayers::Setting* setting) {
  if (setting == nullptr) return IsList(option) ? "[]" : YamlScalar(DefaultOf(option));
  if (IsSecret(KeyOf(option))) return YamlScalar(kMask);
  if (!IsList(option)) return YamlScalar(setting->values.front());
  return absl::StrCat("[",
                      absl::StrJoin(setting->values, ", ",
                                    [](std::string* out, const std::string& value) {
                                      out->append(YamlScalar(value));
                                    }),
                      "]");
}

}  // namespace

std::string YamlScalar(absl::string_view value) {
  const auto is_safe = [](char c) {
    return absl::ascii_isalnum(c) || absl::StrContains("_./%+-", absl::string_view(&c, 1));
  };
  const bool plain = !value.empty() && std::all_of(value.begin(), value.end(), is_safe) &&
                     (absl::ascii_isalnum(value[0]) || value[0] == '/') &&
                     !absl::EqualsIgnoreCase(value, "null");
  if (plain) return std::string(value);
  std::string quoted = "\"";
  for (const char c : value) {
    if (c == '"' || c == '\\') {
      absl::StrAppend(&quoted, "\\", absl::string_view(&c, 1));
    } else if (absl::ascii_iscntrl(c)) {
      absl::StrAppendFormat(&quoted, "\\x%02x", static_cast<unsigned char>(c));
    } else {
      quoted.push_back(c);
    }
  }
  return quoted + "\"";
}

std::string PrintConfig(const ConfigLayers& layers) {
  std::string text = absl::StrCat("# lckv ", layers.app().get_name(), "\n");
  for (const CLI::Option* option : ConfigOptions(layers.app())) {
    const std::string& key = KeyOf(*option);
    const ConfigLayers::Setting* setting = layers.Find(key);
    absl::StrAppend(&text, key, ": ", YamlValue(*option, setting), "  # ",
                    setting == nullptr ? "default" : setting->source, "\n");
  }
  return text;
}

std::string ConfigTable(const CLI::App& app) {
  std::string table = "| key | default | meaning |\n| --- | --- | --- |\n";
  for (const CLI::Option* option : ConfigOptions(app)) {
    const std::string value = IsList(*option) ? "" : DefaultOf(*option);
    absl::StrAppend(&table, "| `", KeyOf(*option), "` | ");
    if (option->get_required()) {
      table += "required";
    } else if (!value.empty()) {
      absl::StrAppend(&table, "`", value, "`");
    }
    absl::StrAppend(&table, " | ", absl::StrReplaceAll(option->get_description(), {{"|", "\\|"}}),
                    IsList(*option) ? " (list)" : "", " |\n");
  }
  return table;
}

}  // namespace lckv
