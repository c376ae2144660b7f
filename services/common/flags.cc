#include "services/common/flags.h"

#include <map>

#include "absl/status/statusor.h"
#include "base/units.h"

namespace lckv {

void AddDurationFlag(CLI::App& app, const std::string& name, absl::Duration* value,
                     const std::string& help) {
  app.add_option_function<std::string>(
         name,
         [name, value](const std::string& text) {
           if (!absl::ParseDuration(text, value) || *value <= absl::ZeroDuration()) {
             throw CLI::ValidationError(name, "want a positive duration such as 250ms, 30s, 10m");
           }
         },
         help)
      ->default_str(absl::FormatDuration(*value))
      ->type_name("DURATION");
}

void AddBytesFlag(CLI::App& app, const std::string& name, int64_t* value, const std::string& help) {
  app.add_option_function<std::string>(
         name,
         [name, value](const std::string& text) {
           const absl::StatusOr<int64_t> bytes = ParseBytes(text);
           if (!bytes.ok()) throw CLI::ValidationError(name, "want a size such as 256MiB or 4GB");
           *value = *bytes;
         },
         help)
      ->default_str(FormatBytes(*value))
      ->type_name("BYTES");
}

void AddLogLevelFlag(CLI::App& app, LogLevel* level) {
  const std::map<std::string, LogLevel> levels = {{"debug", LogLevel::kDebug},
                                                  {"info", LogLevel::kInfo},
                                                  {"warning", LogLevel::kWarning},
                                                  {"error", LogLevel::kError}};
  app.add_option("--log-level", *level, "debug, info, warning or error")
      ->transform(CLI::CheckedTransformer(levels, CLI::ignore_case));
}

}  // namespace lckv
