#pragma once

// Flags that more than one service has. Each value is checked when the command line is parsed; a
// wrong one throws CLI::ValidationError, which names the flag and what it wants.

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>

#include "absl/time/time.h"
#include "base/log.h"

namespace lckv {

// A positive duration such as 250ms, 30s or 10m.
void AddDurationFlag(CLI::App& app, const std::string& name, absl::Duration* value,
                     const std::string& help);

// A size such as 256MiB or 4GB.
void AddBytesFlag(CLI::App& app, const std::string& name, int64_t* value, const std::string& help);

// --log-level.
void AddLogLevelFlag(CLI::App& app, LogLevel* level);

}  // namespace lckv
