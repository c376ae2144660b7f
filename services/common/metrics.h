#pragma once

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <initializer_list>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "services/common/metric_table.h"
#include "services/common/process_metrics.h"

namespace lckv {

// A service's metrics, made from its tables: there is no other way to make one. All of them, with
// every combination of label values, are there at zero from the start, so that the first event
// already shows as an increase. Each service owns one (there is no global registry) and keeps the
// references, which live as long as the registry. Thread-safe once all tables are added, as are the
// metrics.
class MetricsRegistry {
 public:
  // Has the metrics of the process itself beside those of `table`.
  explicit MetricsRegistry(MetricTable table = {});

  // More metrics. REQUIRES: no name that another table has.
  void Add(MetricTable table);

  // A metric of the tables. `values`: of its labels, in the table's order; a value that is not
  // listed counts as "other". REQUIRES: a metric of that name, type and number of labels.
  prometheus::Counter& counter(absl::string_view name,
                               std::initializer_list<absl::string_view> values = {}) const;
  prometheus::Gauge& gauge(absl::string_view name,
                           std::initializer_list<absl::string_view> values = {}) const;
  prometheus::Histogram& histogram(absl::string_view name,
                                   std::initializer_list<absl::string_view> values = {}) const;

  // Everything in the Prometheus text format, version 0.0.4.
  std::string Serialize() const;
  // The same in the OpenMetrics text format, version 1.0.0.
  std::string SerializeOpenMetrics() const;

 private:
  using Metric = std::variant<prometheus::Counter*, prometheus::Gauge*, prometheus::Histogram*>;

  void AddMetric(const MetricDescriptor& descriptor, const std::vector<absl::string_view>& values);
  // The row behind `name` and `values`, "other" included.
  const Metric& Find(absl::string_view name, std::initializer_list<absl::string_view> values) const;

  const std::shared_ptr<prometheus::Registry> registry_;
  absl::flat_hash_map<std::string, const MetricDescriptor*> descriptors_;
  absl::flat_hash_map<std::string, Metric> metrics_;  // by name and values
  std::unique_ptr<ProcessMetrics> process_;
};

}  // namespace lckv
