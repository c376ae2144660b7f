#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "absl/strings/string_view.h"
#include "services/common/config_layers.h"

namespace lckv {

// The values in effect as a configuration file, a line for each key in the order of the flags, with
// its source in a comment. Values of secret keys are masked; without those, the file sets what is
// in effect.
std::string PrintConfig(const ConfigLayers& layers);

// The keys as a Markdown table: key, default, meaning.
std::string ConfigTable(const CLI::App& app);

// `value` as a YAML scalar that ParseConfigFile reads back: plain where that is safe.
std::string YamlScalar(absl::string_view value);

}  // namespace lckv
