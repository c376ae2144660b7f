#include "services/common/tracing/trace_metric_table.h"

namespace lckv {
namespace {

constexpr absl::string_view kOutcomes[] = {"exported", "dropped", "failed"};

constexpr MetricDescriptor kTable[] = {
    {.name = "lckv_trace_spans_total",
     .type = MetricType::kCounter,
     .unit = "spans",
     .help = "Spans by what became of them: exported, dropped because the queue was full, or "
             "failed to be exported.",
     .when_bad = "dropped or failed grow: the receiver of OTEL_EXPORTER_OTLP_ENDPOINT is away or "
                 "too slow. Traces have gaps; turns are not affected.",
     .labels = {{{"outcome", kOutcomes}}}},
};

}  // namespace

MetricTable TraceMetricTable() { return kTable; }

}  // namespace lckv
