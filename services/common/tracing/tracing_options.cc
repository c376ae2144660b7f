#include "services/common/tracing/tracing_options.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"
#include "services/common/config.h"
#include "services/common/ids.h"

namespace lckv {
namespace {

constexpr int kDefaultPort = 4317;
constexpr int64_t kMaxQueue = 1 << 20;
constexpr int64_t kMaxMilliseconds = 3'600'000;

// Reads variables; what is wrong with one is said under its name.
class Reader {
 public:
  explicit Reader(const Environment& environment) : environment_(environment) {}

  std::string Text(const char* name) const {
    return std::string(absl::StripAsciiWhitespace(environment_(name).value_or("")));
  }
  // The variable for traces, else the one for all signals. `name` gets the one that is set.
  std::string TracesText(const char* traces, const char* all, const char** name) const {
    std::string value = Text(traces);
    *name = value.empty() ? all : traces;
    return value.empty() ? Text(all) : value;
  }
  absl::Status Integer(const char* name, int64_t least, int64_t most, int64_t* value) const {
    const std::string text = Text(name);
    if (text.empty()) return absl::OkStatus();
    int64_t parsed = 0;
    if (!absl::SimpleAtoi(text, &parsed) || parsed < least || parsed > most) {
      return absl::InvalidArgumentError(
          absl::StrCat(name, "=", text, ": want an integer from ", least, " to ", most));
    }
    *value = parsed;
    return absl::OkStatus();
  }
  absl::Status Milliseconds(const char* name, absl::Duration* value) const {
    int64_t count = absl::ToInt64Milliseconds(*value);
    LCKV_RETURN_IF_ERROR(Integer(name, 1, kMaxMilliseconds, &count));
    *value = absl::Milliseconds(count);
    return absl::OkStatus();
  }

 private:
  const Environment& environment_;
};

absl::StatusOr<std::string> PercentDecode(absl::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    if (i + 2 >= text.size() || !absl::ascii_isxdigit(text[i + 1]) ||
        !absl::ascii_isxdigit(text[i + 2])) {
      return absl::InvalidArgumentError("a % without two hexadecimal digits");
    }
    out += absl::HexStringToBytes(text.substr(i + 1, 2));
    i += 2;
  }
  return out;
}

absl::Status ReadExport(const Reader& reader, ExportOptions* options) {
  auto capacity = static_cast<int64_t>(options->queue_capacity);
  auto batch = static_cast<int64_t>(options->batch_spans);
  LCKV_RETURN_IF_ERROR(reader.Integer("OTEL_BSP_MAX_QUEUE_SIZE", 1, kMaxQueue, &capacity));
  LCKV_RETURN_IF_ERROR(reader.Integer("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 1, kMaxQueue, &batch));
  options->queue_capacity = static_cast<size_t>(capacity);
  options->batch_spans = static_cast<size_t>(std::min(batch, capacity));
  LCKV_RETURN_IF_ERROR(reader.Milliseconds("OTEL_BSP_SCHEDULE_DELAY", &options->delay));
  LCKV_RETURN_IF_ERROR(reader.Milliseconds("OTEL_EXPORTER_OTLP_TIMEOUT", &options->timeout));
  return reader.Milliseconds("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", &options->timeout);
}

bool Has(const NameValues& values, absl::string_view name) {
  return std::any_of(values.begin(), values.end(),
                     [name](const auto& value) { return value.first == name; });
}

absl::Status ReadResource(const Reader& reader, absl::string_view service, NameValues* resource) {
  const absl::StatusOr<NameValues> given = ParseNameValues(reader.Text("OTEL_RESOURCE_ATTRIBUTES"));
  LCKV_RETURN_IF_ERROR(Annotate(given.status(), "OTEL_RESOURCE_ATTRIBUTES"));
  const std::string name = reader.Text("OTEL_SERVICE_NAME");
  for (const auto& value : *given) {
    if (name.empty() || value.first != "service.name") resource->push_back(value);
  }
  if (!Has(*resource, "service.name")) {
    resource->emplace_back("service.name", name.empty() ? std::string(service) : name);
  }
  if (!Has(*resource, "service.instance.id")) {
    resource->emplace_back("service.instance.id", RandomId());
  }
  resource->emplace_back("telemetry.sdk.name", "lckv");
  resource->emplace_back("telemetry.sdk.language", "cpp");
  return absl::OkStatus();
}

// gRPC ends the process at a call whose headers are not legal.
absl::Status CheckHeaders(const NameValues& headers) {
  int index = 0;
  for (const auto& [name, value] : headers) {
    ++index;
    const bool legal_name = std::all_of(name.begin(), name.end(), [](char c) {
      return absl::ascii_isalnum(c) || c == '-' || c == '_' || c == '.';
    });
    if (!legal_name) {
      return absl::InvalidArgumentError(
          absl::StrCat("header ", index, ": want a name of letters, digits and -_."));
    }
    if (!std::all_of(value.begin(), value.end(), absl::ascii_isprint)) {
      return absl::InvalidArgumentError(
          absl::StrCat("header ", index, ": want a value of printable ASCII"));
    }
  }
  return absl::OkStatus();
}

absl::Status ReadTarget(const Reader& reader, TracingOptions* options) {
  const char* name = nullptr;
  const std::string url =
      reader.TracesText("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT", &name);
  if (url.empty()) return absl::OkStatus();
  const absl::StatusOr<OtlpTarget> target = ParseOtlpEndpoint(url);
  LCKV_RETURN_IF_ERROR(Annotate(target.status(), name));
  const std::string protocol =
      reader.TracesText("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL", &name);
  if (!protocol.empty() && protocol != "grpc") {
    return absl::InvalidArgumentError(
        absl::StrCat(name, "=", protocol, ": this service speaks grpc only"));
  }
  options->ca_file = reader.TracesText("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE",
                                       "OTEL_EXPORTER_OTLP_CERTIFICATE", &name);
  const absl::StatusOr<NameValues> headers = ParseNameValues(
      reader.TracesText("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS", &name));
  LCKV_RETURN_IF_ERROR(Annotate(headers.status(), name));
  LCKV_RETURN_IF_ERROR(Annotate(CheckHeaders(*headers), name));
  options->headers = *headers;
  options->target = *target;
  return absl::OkStatus();
}

}  // namespace

std::string OtlpTarget::Address() const {
  return absl::StrContains(host, ':') ? absl::StrCat("[", host, "]:", port)
                                      : absl::StrCat(host, ":", port);
}

absl::StatusOr<TracingOptions> TracingFromEnvironment(absl::string_view service,
                                                      const Environment& environment) {
  const Reader reader(environment);
  TracingOptions options;
  if (absl::EqualsIgnoreCase(reader.Text("OTEL_SDK_DISABLED"), "true")) return options;
  const std::string exporter = reader.Text("OTEL_TRACES_EXPORTER");
  if (exporter == "none") return options;
  if (!exporter.empty() && exporter != "otlp") {
    return absl::InvalidArgumentError(
        absl::StrCat("OTEL_TRACES_EXPORTER=", exporter, ": not one of otlp, none"));
  }
  LCKV_RETURN_IF_ERROR(ReadTarget(reader, &options));
  if (!options.target.has_value()) return options;
  LCKV_ASSIGN_OR_RETURN(options.sampler, ParseSampler(reader.Text("OTEL_TRACES_SAMPLER"),
                                                      reader.Text("OTEL_TRACES_SAMPLER_ARG")));
  LCKV_RETURN_IF_ERROR(ReadResource(reader, service, &options.resource));
  LCKV_RETURN_IF_ERROR(ReadExport(reader, &options.exporting));
  return options;
}

void ReadTracing(absl::string_view service, TracingOptions* options,
                 std::vector<ConfigProblem>* problems) {
  absl::StatusOr<TracingOptions> read =
      TracingFromEnvironment(service, [](const char* name) -> std::optional<std::string> {
        const char* value = std::getenv(name);
        return value == nullptr ? std::nullopt : std::make_optional<std::string>(value);
      });
  if (read.ok()) {
    *options = *std::move(read);
  } else {
    problems->push_back({"", std::string(read.status().message())});
  }
}

absl::StatusOr<OtlpTarget> ParseOtlpEndpoint(absl::string_view url) {
  const auto wrong = [url] {
    // What stands before an @ may be a password.
    const absl::string_view shown = absl::StrContains(url, '@') ? "with an @" : url;
    return absl::InvalidArgumentError(
        absl::StrCat("\"", shown, "\": want http://host:port or https://host:port"));
  };
  OtlpTarget target;
  absl::string_view rest = url;
  target.tls = absl::ConsumePrefix(&rest, "https://");
  if (!target.tls && !absl::ConsumePrefix(&rest, "http://")) return wrong();
  absl::ConsumeSuffix(&rest, "/");
  absl::string_view port;
  if (absl::ConsumePrefix(&rest, "[")) {
    const size_t end = rest.find(']');
    if (end == absl::string_view::npos) return wrong();
    target.host = std::string(rest.substr(0, end));
    port = rest.substr(end + 1);
    if (!absl::StrContains(target.host, ':')) return wrong();
  } else {
    const size_t colon = std::min(rest.find(':'), rest.size());
    target.host = std::string(rest.substr(0, colon));
    port = rest.substr(colon);
  }
  const auto legal = [](char c) {
    return absl::ascii_isalnum(c) || c == '.' || c == '-' || c == '_' || c == ':';
  };
  if (target.host.empty() || !std::all_of(target.host.begin(), target.host.end(), legal)) {
    return wrong();
  }
  target.port = kDefaultPort;
  if (port.empty()) return target;
  if (!absl::ConsumePrefix(&port, ":") ||
      !std::all_of(port.begin(), port.end(), absl::ascii_isdigit) ||
      !absl::SimpleAtoi(port, &target.port) || target.port < 1 || target.port > 65535) {
    return wrong();
  }
  return target;
}

absl::StatusOr<NameValues> ParseNameValues(absl::string_view text) {
  NameValues values;
  int index = 0;
  for (const absl::string_view item : absl::StrSplit(text, ',')) {
    ++index;
    if (absl::StripAsciiWhitespace(item).empty()) continue;
    const std::pair<absl::string_view, absl::string_view> parts =
        absl::StrSplit(item, absl::MaxSplits('=', 1));
    const absl::string_view name = absl::StripAsciiWhitespace(parts.first);
    if (name.empty() || !absl::StrContains(item, '=')) {
      return absl::InvalidArgumentError(absl::StrCat("item ", index, ": want name=value"));
    }
    const absl::StatusOr<std::string> value =
        PercentDecode(absl::StripAsciiWhitespace(parts.second));
    LCKV_RETURN_IF_ERROR(Annotate(value.status(), absl::StrCat("item ", index)));
    values.emplace_back(name, *value);
  }
  return values;
}

}  // namespace lckv
