// `lckv metrics`: what the services count, from the tables that they make their metrics of.

#include <array>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "services/cache_node/cache_metric_table.h"
#include "services/cli/command.h"
#include "services/common/process_metrics.h"
#include "services/common/tls_setup.h"
#include "services/common/tracing/trace_metric_table.h"
#include "services/gateway/gateway_metric_table.h"
#include "services/worker/worker_metric_table.h"

namespace lckv {
namespace {

using Json = nlohmann::ordered_json;

struct MetricsOptions {
  bool markdown = false;
};

struct Section {
  const char* service;
  const char* title;
  const char* intro;
  MetricTable table;
};

std::array<Section, 7> Sections() {
  return {{
      {"gateway", "Gateway", "What clients see.", gateway::GatewayMetricTable()},
      {"worker", "Worker", "The engine and its sessions.", worker::WorkerMetricTable()},
      {"worker", "Worker, names of others",
       "With `--vllm-metrics`: the names that autoscalers and the Gateway API inference extension "
       "read.",
       worker::VllmMetricTable()},
      {"cache-node", "Cache node", "Sessions and their pages.", CacheMetricTable()},
      {"all", "Every service, traces", "Spans, as docs/tracing.md has them.", TraceMetricTable()},
      {"all", "Every service, TLS", "Certificates, as docs/security.md has them.",
       TlsMetricTable()},
      {"all", "Every service", "What the operating system knows of the process.",
       ProcessMetricTable()},
  }};
}

Json ToJson(const Section& section, const MetricDescriptor& metric) {
  Json labels = Json::object();
  for (const MetricLabel& label : metric.labels) {
    if (label.name.empty()) continue;
    Json& values = labels[std::string(label.name)] = Json::array();
    for (const absl::string_view value : label.values) values.push_back(std::string(value));
  }
  return {{"name", std::string(metric.name)},
          {"service", section.service},
          {"type", std::string(MetricTypeName(metric.type))},
          {"unit", std::string(metric.unit)},
          {"labels", std::move(labels)},
          {"help", std::string(metric.help)},
          {"when_bad", std::string(metric.when_bad)}};
}

// Text in a cell of a table.
std::string Cell(absl::string_view text) { return absl::StrReplaceAll(text, {{"|", "\\|"}}); }

std::string LabelCell(const MetricDescriptor& metric) {
  std::string out;
  for (const MetricLabel& label : metric.labels) {
    if (label.name.empty()) continue;
    absl::StrAppend(&out, out.empty() ? "" : "; ", "`", label.name,
                    "`: ", absl::StrJoin(label.values, ", "));
  }
  return out;
}

void PrintMarkdown() {
  std::cout
      << "# Metrics\n\n"
         "Made by `lckv metrics --markdown` from the tables that the services make their metrics "
         "of; a test compares. Every service\n"
         "answers `GET /metrics` on `--metrics-listen`, in the OpenMetrics format to those who "
         "accept it, else in Prometheus' older one.\n\n"
         "A metric is there at zero with every combination of its labels' values from the "
         "service's start. Values are bounded: no label holds\n"
         "the name of a session, request, tenant or worker. Histograms have `_bucket`, `_sum` and "
         "`_count`. What to do when an alert fires\n"
         "stands in `docs/operating.md`.\n";
  for (const Section& section : Sections()) {
    std::cout << "\n## " << section.title << "\n\n"
              << section.intro << "\n\n"
              << "| metric | type | unit | labels | what it counts | when it is bad |\n"
              << "| --- | --- | --- | --- | --- | --- |\n";
    for (const MetricDescriptor& metric : section.table) {
      std::cout << "| `" << metric.name << "` | " << MetricTypeName(metric.type) << " | "
                << metric.unit << " | " << Cell(LabelCell(metric)) << " | " << Cell(metric.help)
                << " | " << Cell(metric.when_bad) << " |\n";
    }
  }
}

absl::Status RunMetrics(const MetricsOptions& options) {
  if (options.markdown) {
    PrintMarkdown();
    return absl::OkStatus();
  }
  for (const Section& section : Sections()) {
    for (const MetricDescriptor& metric : section.table) {
      std::cout << ToJson(section, metric).dump() << "\n";
    }
  }
  return absl::OkStatus();
}

}  // namespace

void AddMetrics(CLI::App& tool, Action& chosen) {
  auto options = std::make_shared<MetricsOptions>();
  CLI::App* command = Declare(tool, "metrics", "What the services count, one JSON object a line",
                              options, RunMetrics, chosen);
  command->add_flag("--markdown", options->markdown, "as docs/metrics.md");
}

}  // namespace lckv
