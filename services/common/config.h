#pragma once

// How a service reads its configuration: flags over environment over file (docs/configuration.md).

#include <CLI/CLI.hpp>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace lckv {

// What is wrong although each value is right by itself.
struct ConfigProblem {
  // That it is reported for: the flag's name without the dashes. Empty: the message names a
  // variable of the environment that is no key.
  std::string key;
  std::string message;
};
using ConfigCheck = std::function<std::vector<ConfigProblem>()>;

// Reads every configurable option of `app` from the three layers and stores the values where the
// options say, then, if they are right, runs `check`. Adds --config, --check-config,
// --print-config and --help-config. Returns the exit status when the program is to end: 0 when it
// printed what one of these, or --help, asked for; 1 when something is wrong, after printing every
// error to standard error.
// REQUIRES: `app` was not parsed before and has no subcommands or option groups.
std::optional<int> ReadConfig(CLI::App& app, int argc, char** argv, const ConfigCheck& check = {});

}  // namespace lckv
