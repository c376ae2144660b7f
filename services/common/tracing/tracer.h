#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>

#include "absl/status/statusor.h"
#include "services/common/metrics.h"
#include "services/common/tracing/export_queue.h"
#include "services/common/tracing/sampler.h"
#include "services/common/tracing/span.h"
#include "services/common/tracing/tracing_options.h"

namespace lckv {

// A service's tracing: says of each call that comes in where it lies in its trace and whether it is
// recorded, and exports the spans under it. Each service owns one; it outlives all positions and
// spans, and flushes when destroyed. Off, it has no thread and records nothing. Thread-safe.
class Tracer {
 public:
  // On if there is an exporter. Registers its metrics in either case. `registry` outlives it.
  Tracer(const TracingOptions& options, std::unique_ptr<SpanExporter> exporter,
         MetricsRegistry* registry);

  bool on() const { return queue_ != nullptr; }

  // Where an incoming call lies: in its caller's trace or, without a legal "traceparent", at the
  // beginning of one. Not recorded, the caller's position is passed on: as it came when tracing is
  // off, else as not sampled.
  TracePosition Enter(const grpc::ServerContextBase& call) const;
  // As Enter, but never the beginning of a trace: calls that belong to no turn (renewals, polls)
  // are not worth one. Without a "traceparent" they lie in no trace.
  TracePosition Continue(const grpc::ServerContextBase& call) const;

 private:
  TracePosition Below(const TraceContext& caller) const;

  const Sampler sampler_;
  SpanCounters counters_;
  const std::unique_ptr<ExportQueue> queue_;  // null: off
};

// The exporter that `options` ask for; null when tracing is off. INVALID_ARGUMENT.
absl::StatusOr<std::unique_ptr<SpanExporter>> MakeSpanExporter(const TracingOptions& options);

}  // namespace lckv
