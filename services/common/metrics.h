#pragma once

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/labels.h>
#include <prometheus/registry.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace lckv {

// A service's metrics. Each service owns one (there is no global registry), registers everything
// at start and keeps the references, which live as long as the registry. Names start with "lckv_"
// ("vllm:" for those that others' tools read), end in their base unit (counters in "_total") and
// have a help text; labels are few and bounded: never an id of a session or request. Thread-safe,
// as are the metrics.
class MetricsRegistry {
 public:
  using Labels = prometheus::Labels;

  MetricsRegistry();

  // A metric without labels of its own, or one of a family. REQUIRES: a legal name.
  prometheus::Counter& AddCounter(absl::string_view name, absl::string_view help,
                                  const Labels& labels = {});
  prometheus::Gauge& AddGauge(absl::string_view name, absl::string_view help,
                              const Labels& labels = {});
  // `buckets`: upper bounds, ascending.
  prometheus::Histogram& AddHistogram(absl::string_view name, absl::string_view help,
                                      const std::vector<double>& buckets,
                                      const Labels& labels = {});
  // For counters whose label values are known only when they happen (family.Add is a look-up).
  prometheus::Family<prometheus::Counter>& AddCounterFamily(absl::string_view name,
                                                            absl::string_view help);

  // Everything in the Prometheus text format.
  std::string Serialize() const;

 private:
  const std::shared_ptr<prometheus::Registry> registry_;
};

// Upper bounds in seconds.
std::vector<double> TimeToFirstTokenBuckets();
std::vector<double> InterTokenBuckets();
// From milliseconds to ten minutes: whole turns, restores, waits.
std::vector<double> DurationBuckets();

}  // namespace lckv
