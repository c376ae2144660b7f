#pragma once

#include <prometheus/counter.h>
#include <prometheus/gauge.h>

#include "base/mutex.h"
#include "services/common/metric_table.h"

namespace lckv {

class MetricsRegistry;

// What the operating system knows of this process, under the names that all of Prometheus' client
// libraries use.
MetricTable ProcessMetricTable();

// Reads /proc/self. Thread-safe.
class ProcessMetrics {
 public:
  // `registry` has ProcessMetricTable(), and outlives this.
  explicit ProcessMetrics(const MetricsRegistry& registry);
  // Sets the metrics to what they are now. What cannot be read keeps its value.
  void Refresh();

 private:
  Mutex mu_;
  prometheus::Counter& cpu_seconds_;
  prometheus::Gauge& resident_bytes_;
  prometheus::Gauge& open_fds_;
  prometheus::Gauge& max_fds_;
};

}  // namespace lckv
