#pragma once

// Structured log lines: one JSON object a line on standard error, written by spdlog. Thread-safe.
//
//   LogInfo("session restored", {{"session", id}, {"tokens", 128}, {"trace", trace_id}});
//   {"ts":"2026-01-02T03:04:05.678Z","level":"info","msg":"session
//   restored","session":"…","tokens":128,…}
//
// Never put prompt or output text, keys or tokens of users into a field.

#include <cstdint>
#include <initializer_list>
#include <string>
#include <type_traits>

#include "absl/strings/string_view.h"

namespace lckv {

enum class LogLevel { kDebug, kInfo, kWarning, kError };

struct LogField {
  LogField(absl::string_view k, absl::string_view v) : key(k), kind(Kind::kString), text(v) {}
  LogField(absl::string_view k, const std::string& v) : LogField(k, absl::string_view(v)) {}
  LogField(absl::string_view k, const char* v) : LogField(k, absl::string_view(v)) {}
  LogField(absl::string_view k, bool v) : key(k), kind(Kind::kBool), integer(v) {}
  LogField(absl::string_view k, double v) : key(k), kind(Kind::kDouble), real(v) {}
  template <typename T,
            std::enable_if_t<std::is_integral_v<T> && !std::is_same_v<T, bool>, int> = 0>
  LogField(absl::string_view k, T v) : key(k), kind(Kind::kInt), integer(static_cast<int64_t>(v)) {}

  enum class Kind { kString, kInt, kDouble, kBool };
  absl::string_view key;
  Kind kind;
  absl::string_view text;
  int64_t integer = 0;
  double real = 0;
};

using LogFields = std::initializer_list<LogField>;

void Log(LogLevel level, absl::string_view message, LogFields fields = {});
inline void LogDebug(absl::string_view m, LogFields f = {}) { Log(LogLevel::kDebug, m, f); }
inline void LogInfo(absl::string_view m, LogFields f = {}) { Log(LogLevel::kInfo, m, f); }
inline void LogWarning(absl::string_view m, LogFields f = {}) { Log(LogLevel::kWarning, m, f); }
inline void LogError(absl::string_view m, LogFields f = {}) { Log(LogLevel::kError, m, f); }

// Lines below `level` are dropped; kInfo at start.
void SetLogLevel(LogLevel level);
// A field that every later line carries, such as the service's name. Call before threads start.
void SetLogService(absl::string_view service);

}  // namespace lckv
