#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "services/common/tracing/sampler.h"

namespace lckv {

struct ConfigProblem;

// Where spans go. Larger queue: longer outages of the receiver lose nothing, for about 1 KiB a
// span. Larger batches and delays: fewer calls, more that is lost when the process dies.
struct ExportOptions {
  size_t queue_capacity = 2048;
  size_t batch_spans = 512;
  absl::Duration delay = absl::Seconds(5);     // a span waits at most this long for others
  absl::Duration timeout = absl::Seconds(10);  // of one call
  absl::Duration backoff_min = absl::Milliseconds(500);
  absl::Duration backoff_max = absl::Seconds(10);
  absl::Duration flush = absl::Seconds(3);  // for what is left at shutdown
};

struct OtlpTarget {
  std::string host;
  int port = 0;
  bool tls = false;

  // As gRPC has it: "host:port", or "[v6]:port".
  std::string Address() const;
};

using NameValues = std::vector<std::pair<std::string, std::string>>;

struct TracingOptions {
  std::optional<OtlpTarget> target;  // none: tracing is off
  std::string ca_file;               // PEM; empty: the system's roots
  NameValues headers;                // sent with every call; secret
  NameValues resource;               // of this process, service.name included
  Sampler sampler;
  ExportOptions exporting;
};

// The value of an environment variable; nothing when it is not set.
using Environment = std::function<std::optional<std::string>(const char* name)>;

// The options by OpenTelemetry's standard variables, listed in docs/tracing.md; an empty variable
// is one that is not set. Off unless an endpoint is given. `service`: service.name where no
// variable says it. INVALID_ARGUMENT names the variable, and shows neither a header's value nor a
// user's password in an endpoint.
absl::StatusOr<TracingOptions> TracingFromEnvironment(absl::string_view service,
                                                      const Environment& environment);

// The same with this process's environment, for a check of ReadConfig: sets `options`, or adds what
// is wrong to `problems`.
void ReadTracing(absl::string_view service, TracingOptions* options,
                 std::vector<ConfigProblem>* problems);

// "http://host:port" or "https://host:port"; without a port 4317. INVALID_ARGUMENT.
absl::StatusOr<OtlpTarget> ParseOtlpEndpoint(absl::string_view url);

// "name=value,name=value", values percent-encoded. INVALID_ARGUMENT, without values.
absl::StatusOr<NameValues> ParseNameValues(absl::string_view text);

}  // namespace lckv
