#include "base/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace lckv {
namespace {

spdlog::logger& Logger() {
  // Leaked on purpose: threads may log while the process exits.
  static auto* logger = [] {
    auto* made = new spdlog::logger("lckv", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    made->set_pattern("%v");
    made->set_level(spdlog::level::info);
    made->flush_on(spdlog::level::trace);
    return made;
  }();
  return *logger;
}

std::string& ServiceName() {
  static auto* name = new std::string;
  return *name;
}

spdlog::level::level_enum ToSpdlog(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
  }
  return spdlog::level::err;
}

const char* Name(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return "debug";
    case LogLevel::kInfo:
      return "info";
    case LogLevel::kWarning:
      return "warning";
    case LogLevel::kError:
      return "error";
  }
  return "error";
}

std::string ToStd(absl::string_view text) { return std::string(text); }

}  // namespace

void Log(LogLevel level, absl::string_view message, LogFields fields) {
  if (!Logger().should_log(ToSpdlog(level))) return;
  nlohmann::ordered_json line;
  line["ts"] = absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", absl::Now(), absl::UTCTimeZone());
  line["level"] = Name(level);
  if (!ServiceName().empty()) line["service"] = ServiceName();
  line["msg"] = ToStd(message);
  for (const LogField& field : fields) {
    auto& value = line[ToStd(field.key)];
    switch (field.kind) {
      case LogField::Kind::kString:
        value = ToStd(field.text);
        break;
      case LogField::Kind::kInt:
        value = field.integer;
        break;
      case LogField::Kind::kDouble:
        value = field.real;
        break;
      case LogField::Kind::kBool:
        value = field.integer != 0;
        break;
    }
  }
  Logger().log(ToSpdlog(level),
               line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
}

void SetLogLevel(LogLevel level) { Logger().set_level(ToSpdlog(level)); }

void SetLogService(absl::string_view service) { ServiceName() = std::string(service); }

}  // namespace lckv
