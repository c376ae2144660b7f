#include "services/common/config.h"

#include <unistd.h>

#include <cstdlib>
#include <iostream>
#include <map>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/log.h"
#include "services/common/config_layers.h"
#include "services/common/config_output.h"
#include "services/common/nearest_name.h"

namespace lckv {
namespace {

// A file of nonsense has an error in every line.
constexpr size_t kMaxShownErrors = 50;

struct CommandLine {
  bool help = false;
  bool help_config = false;
  bool check = false;
  bool print = false;
  std::string file;
  std::map<std::string, std::vector<std::string>> flags;  // by first long name
  std::vector<ConfigError> errors;
};

void AddOwnOptions(CLI::App& app) {
  app.add_option("--config", "YAML file of keys, which are these flags without dashes")
      ->type_name("FILE")
      ->configurable(false);
  app.add_flag("--check-config")
      ->description("check flags, environment and file, and end")
      ->configurable(false);
  app.add_flag("--print-config")
      ->description("print the values in effect, and where each is from, and end")
      ->configurable(false);
  app.add_flag("--help-config")
      ->description("print a table of the keys, and end")
      ->configurable(false);
  app.footer(
      "Every flag can also be set in the environment (LCKV_ and its name, in capitals) and in the\n"
      "file of --config. Flags win over the environment, the environment wins over the file.\n");
}

std::string NamesOf(const CLI::Option& option) {
  std::vector<std::string> names;
  for (const std::string& name : option.get_lnames()) names.push_back("--" + name);
  for (const std::string& name : option.get_snames()) names.push_back("-" + name);
  return absl::StrJoin(names, ",");
}

void ReportUnknown(const std::vector<std::string>& arguments, const CLI::App& app,
                   CommandLine* line) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  bool after_flag = false;
  for (const std::string& argument : arguments) {
    const bool is_flag = absl::StartsWith(argument, "-");
    const std::string name = argument.substr(0, argument.find('='));
    const std::string nearest = NearestName(name, names);
    if (is_flag) {
      line->errors.push_back({absl::StrCat("flag ", name),
                              nearest.empty()
                                  ? std::string("unknown")
                                  : absl::StrCat("unknown, did you mean ", nearest, "?")});
    } else if (!after_flag) {
      line->errors.push_back({absl::StrCat("argument '", argument, "'"), "not expected"});
    }
    after_flag = is_flag;
  }
}

// Sorts the arguments by option, without converting a value: that is for ConfigLayers, which knows
// what is required once it has seen every layer.
CommandLine ReadCommandLine(const CLI::App& app, int argc, char** argv) {
  CLI::App scan("", app.get_name());
  scan.allow_extras();
  std::map<const CLI::Option*, CLI::Option*> copies;
  for (const CLI::Option* option : app.get_options()) {
    if (option == app.get_help_ptr()) continue;
    CLI::Option* copy =
        IsFlag(*option)
            ? scan.add_flag(NamesOf(*option))
            : scan.add_option(NamesOf(*option))->expected(1, option->get_items_expected_max());
    copy->type_name("value");
    copies[option] = copy->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  }
  CommandLine line;
  try {
    scan.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    line.help = true;
    return line;
  } catch (const CLI::ParseError& error) {
    line.errors.push_back({"flags", error.what()});
    return line;
  }
  for (const auto& [option, copy] : copies) {
    if (copy->results().empty()) continue;
    std::vector<std::string> values = copy->results();
    if (IsFlag(*option)) values = {values.back()};
    line.flags[KeyOf(*option)] = std::move(values);
  }
  ReportUnknown(scan.remaining(), app, &line);
  return line;
}

// Takes the flags that AddOwnOptions added out of line->flags.
void TakeOwnFlags(CommandLine* line) {
  const auto take = [line](const std::string& name) {
    const auto node = line->flags.extract(name);
    return node.empty() ? std::vector<std::string>() : node.mapped();
  };
  const auto is_set = [&take](const std::string& name) {
    const std::vector<std::string> values = take(name);
    return !values.empty() && values.back() == "true";
  };
  line->check = is_set("check-config");
  line->print = is_set("print-config");
  line->help_config = is_set("help-config");
  const std::vector<std::string> files = take("config");
  if (files.size() > 1) line->errors.push_back({"flag --config", "wants one file"});
  if (!files.empty()) line->file = files.front();
  if (!files.empty() && line->file.empty()) {
    line->errors.push_back({"flag --config", "wants the name of a file"});
  }
}

std::vector<std::string> Environment() {
  std::vector<std::string> entries;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    entries.emplace_back(*entry);
  }
  return entries;
}

void PrintErrors(const std::string& service, const std::vector<ConfigError>& errors) {
  for (size_t i = 0; i < errors.size() && i < kMaxShownErrors; ++i) {
    std::cerr << "lckv " << service << ": " << errors[i].source << ": " << errors[i].message
              << "\n";
  }
  if (errors.size() > kMaxShownErrors) {
    std::cerr << "lckv " << service << ": and " << errors.size() - kMaxShownErrors << " more\n";
  }
}

void WarnOfVariables(const std::vector<std::string>& variables) {
  if (variables.empty()) return;
  LogWarning("environment variables that are no keys of this service",
             {{"names", absl::StrJoin(variables, " ")}});
}

}  // namespace

std::optional<int> ReadConfig(CLI::App& app, int argc, char** argv, const ConfigCheck& check) {
  AddOwnOptions(app);
  CommandLine line = ReadCommandLine(app, argc, argv);
  TakeOwnFlags(&line);
  if (line.help) {
    std::cout << app.help("lckv");
    return 0;
  }
  if (line.help_config) {
    std::cout << ConfigTable(app);
    return 0;
  }
  const char* const file_variable = std::getenv(VariableOf("config").c_str());
  if (line.file.empty() && file_variable != nullptr) line.file = file_variable;

  ConfigLayers layers(&app);
  for (ConfigError& error : line.errors) layers.AddError(std::move(error));
  // What could not be read may well hold what is missing.
  bool complete = line.errors.empty();
  if (!line.file.empty() && !layers.ApplyFile(line.file)) complete = false;
  layers.ApplyEnvironment(Environment());
  layers.ApplyFlags(line.flags);
  if (complete) layers.CheckRequirements();
  if (layers.errors().empty() && check != nullptr) {
    for (const ConfigProblem& problem : check()) layers.AddKeyError(problem.key, problem.message);
  }
  if (!layers.errors().empty()) {
    PrintErrors(app.get_name(), layers.errors());
    return 1;
  }
  WarnOfVariables(layers.unknown_variables());
  if (line.print) {
    std::cout << PrintConfig(layers);
    return 0;
  }
  if (line.check) {
    std::cout << app.get_name() << ": the configuration is valid, " << layers.size()
              << " keys are set\n";
    return 0;
  }
  return std::nullopt;
}

}  // namespace lckv
