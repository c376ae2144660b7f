#include "services/common/flags.h"

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/units.h"
#include "services/common/listen_address.h"

namespace lckv {

void AddDurationFlag(CLI::App& app, const std::string& name, absl::Duration* value,
                     const std::string& help) {
  app.add_option_function<std::string>(
         name,
         [name, value](const std::string& text) {
           if (!absl::ParseDuration(text, value) || *value <= absl::ZeroDuration() ||
               *value == absl::InfiniteDuration()) {
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

std::string InWords(const std::vector<std::string>& names) {
  if (names.size() < 2) return absl::StrJoin(names, "");
  return absl::StrCat(absl::StrJoin(names.begin(), names.end() - 1, ", "), " or ", names.back());
}

std::string CheckAddress(const std::string& text) {
  return std::string(ParseListenAddress(text).status().message());
}

std::string CheckAddressOrEmpty(const std::string& text) {
  return text.empty() ? "" : CheckAddress(text);
}

void AddLogLevelFlag(CLI::App& app, LogLevel* level) {
  AddChoiceFlag<LogLevel>(app, "--log-level", level,
                          {{"debug", LogLevel::kDebug},
                           {"info", LogLevel::kInfo},
                           {"warning", LogLevel::kWarning},
                           {"error", LogLevel::kError}},
                          "debug, info, warning or error");
}

}  // namespace lckv
