#include "services/common/tracing/tracer.h"

#include <optional>
#include <utility>

#include "base/log.h"
#include "services/common/tracing/otlp_exporter.h"

namespace lckv {

Tracer::Tracer(const TracingOptions& options, std::unique_ptr<SpanExporter> exporter,
               MetricsRegistry* registry)
    : sampler_(options.sampler),
      counters_(registry),
      queue_(exporter == nullptr ? nullptr
                                 : std::make_unique<ExportQueue>(
                                       options.exporting, std::move(exporter), &counters_)) {}

TracePosition Tracer::Below(const TraceContext& caller) const {
  if (!on()) return TracePosition(caller, nullptr);
  TraceContext context = caller;
  context.sampled = sampler_.Sample(&caller, caller.trace_id);
  return TracePosition(context, context.sampled ? queue_.get() : nullptr);
}

TracePosition Tracer::Enter(const grpc::ServerContextBase& call) const {
  if (const std::optional<TraceContext> caller = ReadTraceparent(call)) return Below(*caller);
  TraceContext context;
  context.trace_id = RandomTraceId();
  context.sampled = on() && sampler_.Sample(nullptr, context.trace_id);
  if (context.sampled) return TracePosition(context, queue_.get());
  // Nothing is recorded here, but the next hop's logs have the same trace.
  context.span_id = RandomSpanId();
  return TracePosition(context, nullptr);
}

TracePosition Tracer::Continue(const grpc::ServerContextBase& call) const {
  const std::optional<TraceContext> caller = ReadTraceparent(call);
  return caller.has_value() ? Below(*caller) : TracePosition();
}

absl::StatusOr<std::unique_ptr<SpanExporter>> MakeSpanExporter(const TracingOptions& options) {
  if (!options.target.has_value()) return nullptr;
  LogInfo("tracing", {{"endpoint", options.target->Address()},
                      {"tls", options.target->tls},
                      {"ratio", options.sampler.ratio},
                      {"parent_based", options.sampler.parent_based}});
  return MakeOtlpExporter(options);
}

}  // namespace lckv
