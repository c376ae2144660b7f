#pragma once

#include <grpcpp/grpcpp.h>

#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace lckv {

// One hop of a distributed trace (W3C Trace Context, version 00). `trace_id` goes into log lines as
// "trace"; `span_id` names this service's part and becomes the next hop's parent.
struct TraceContext {
  std::string trace_id;  // 32 lower-case hexadecimal digits, not all zero
  std::string span_id;   // 16, not all zero
  bool sampled = false;
};

// The caller's position in its trace: "00-<trace id>-<span id>-<flags>". Nothing when malformed.
std::optional<TraceContext> ParseTraceparent(absl::string_view header);
std::string FormatTraceparent(const TraceContext& trace);

// A new span in the trace of the call's "traceparent" metadata, or in a new trace when there is
// none or it is malformed.
TraceContext ReadTraceparent(const grpc::ServerContextBase& context);
// Sends `trace` to the next hop. Call once, before the call starts.
void AddTraceparent(const TraceContext& trace, grpc::ClientContext* context);

}  // namespace lckv
