#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <utility>

#include "absl/status/status.h"

namespace lckv {

// What a subcommand does once its flags are parsed. An error is printed and gives exit status 1.
using Action = std::function<absl::Status()>;

// A row of the tool's table: declares a subcommand and its flags on `tool`. When the command line
// names it, its action is put into `chosen`, which outlives `tool`.
using AddCommand = void (*)(CLI::App& tool, Action& chosen);

void AddApiKey(CLI::App& tool, Action& chosen);
void AddBench(CLI::App& tool, Action& chosen);
void AddChat(CLI::App& tool, Action& chosen);
void AddHealth(CLI::App& tool, Action& chosen);
void AddInspect(CLI::App& tool, Action& chosen);
void AddLogits(CLI::App& tool, Action& chosen);
void AddMetrics(CLI::App& tool, Action& chosen);
void AddPlan(CLI::App& tool, Action& chosen);
void AddPpl(CLI::App& tool, Action& chosen);
void AddSessions(CLI::App& tool, Action& chosen);
void AddTokenize(CLI::App& tool, Action& chosen);
void AddUp(CLI::App& tool, Action& chosen);

// The usual shape of an AddCommand: a subcommand with flags of type Options, and what runs with
// them.
template <typename Options>
CLI::App* Declare(CLI::App& tool, const char* name, const char* help,
                  std::shared_ptr<Options> options, absl::Status (*run)(const Options&),
                  Action& chosen) {
  CLI::App* command = tool.add_subcommand(name, help);
  command->callback([options, run, &chosen] { chosen = [options, run] { return run(*options); }; });
  return command;
}

}  // namespace lckv
