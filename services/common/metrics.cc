#include "services/common/metrics.h"

#include <prometheus/text_serializer.h>

#include "absl/strings/match.h"
#include "base/check.h"

namespace lckv {
namespace {

std::string CheckedName(absl::string_view name) {
  LCKV_CHECK(absl::StartsWith(name, "lckv_") || absl::StartsWith(name, "vllm:"));
  return std::string(name);
}

}  // namespace

MetricsRegistry::MetricsRegistry() : registry_(std::make_shared<prometheus::Registry>()) {}

prometheus::Counter& MetricsRegistry::AddCounter(absl::string_view name, absl::string_view help,
                                                 const Labels& labels) {
  return AddCounterFamily(name, help).Add(labels);
}

prometheus::Gauge& MetricsRegistry::AddGauge(absl::string_view name, absl::string_view help,
                                             const Labels& labels) {
  return prometheus::BuildGauge()
      .Name(CheckedName(name))
      .Help(std::string(help))
      .Register(*registry_)
      .Add(labels);
}

prometheus::Histogram& MetricsRegistry::AddHistogram(absl::string_view name, absl::string_view help,
                                                     const std::vector<double>& buckets,
                                                     const Labels& labels) {
  return prometheus::BuildHistogram()
      .Name(CheckedName(name))
      .Help(std::string(help))
      .Register(*registry_)
      .Add(labels, buckets);
}

prometheus::Family<prometheus::Counter>& MetricsRegistry::AddCounterFamily(absl::string_view name,
                                                                           absl::string_view help) {
  return prometheus::BuildCounter()
      .Name(CheckedName(name))
      .Help(std::string(help))
      .Register(*registry_);
}

std::string MetricsRegistry::Serialize() const {
  return prometheus::TextSerializer().Serialize(registry_->Collect());
}

std::vector<double> TimeToFirstTokenBuckets() {
  return {0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75,
          1,     2.5,   5,    7.5,  10,   20,   40,   80,  160,  640, 2560};
}

std::vector<double> InterTokenBuckets() {
  return {0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05,
          0.075, 0.1,    0.15,  0.2,    0.3,  0.5,   1,    2.5};
}

std::vector<double> DurationBuckets() {
  return {0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 600};
}

}  // namespace lckv
