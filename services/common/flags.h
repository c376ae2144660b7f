#pragma once

// Flags that more than one service has. Each value is checked when it is stored; a wrong one throws
// CLI::ValidationError, which names the flag and what it wants.

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/time/time.h"
#include "base/log.h"

namespace lckv {

// A positive, finite duration such as 250ms, 30s or 10m.
void AddDurationFlag(CLI::App& app, const std::string& name, absl::Duration* value,
                     const std::string& help);

// A size such as 256MiB or 4GB.
void AddBytesFlag(CLI::App& app, const std::string& name, int64_t* value, const std::string& help);

// A value with a name, in the order in which messages list them.
template <typename T>
using Named = std::vector<std::pair<std::string, T>>;

// "same or any", "debug, info, warning or error".
std::string InWords(const std::vector<std::string>& names);

// One of `choices`, by its name in any case.
template <typename T>
void AddChoiceFlag(CLI::App& app, const std::string& name, T* value, const Named<T>& choices,
                   const std::string& help) {
  std::vector<std::string> names;
  std::string default_name;
  for (const auto& [choice_name, choice] : choices) {
    names.push_back(choice_name);
    if (choice == *value) default_name = choice_name;
  }
  app.add_option_function<std::string>(
         name,
         [name, value, choices, wanted = InWords(names)](const std::string& text) {
           for (const auto& [choice_name, choice] : choices) {
             if (!absl::EqualsIgnoreCase(text, choice_name)) continue;
             *value = choice;
             return;
           }
           throw CLI::ValidationError(name, "want " + wanted);
         },
         help)
      ->default_str(default_name)
      ->type_name("NAME");
}

// Validators of addresses: what is wrong with `text`, empty when it is a host:port.
std::string CheckAddress(const std::string& text);
std::string CheckAddressOrEmpty(const std::string& text);

// --log-level.
void AddLogLevelFlag(CLI::App& app, LogLevel* level);

}  // namespace lckv
