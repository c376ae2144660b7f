#include "services/common/metrics.h"

#include <prometheus/text_serializer.h>

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "services/common/open_metrics.h"

namespace lckv {
namespace {

constexpr absl::string_view kOther = "other";

void CheckDescriptor(const MetricDescriptor& metric) {
  LCKV_CHECK(absl::StartsWith(metric.name, "lckv_") || absl::StartsWith(metric.name, "vllm:") ||
             absl::StartsWith(metric.name, "process_"));
  LCKV_CHECK(absl::EndsWith(metric.name, "_total") == (metric.type == MetricType::kCounter));
  LCKV_CHECK(metric.buckets.empty() == (metric.type != MetricType::kHistogram));
}

// Label values may not hold this byte: no name of ours does.
std::string Key(absl::string_view name, absl::Span<const absl::string_view> values) {
  std::string key(name);
  for (const absl::string_view value : values) absl::StrAppend(&key, "\n", value);
  return key;
}

// Calls `visit` with every combination of values of `labels`.
template <typename Visit>
void ForEachCombination(absl::Span<const MetricLabel> labels,
                        std::vector<absl::string_view>& values, const Visit& visit) {
  if (values.size() == labels.size() || labels[values.size()].name.empty()) {
    visit(values);
    return;
  }
  for (const absl::string_view value : labels[values.size()].values) {
    values.push_back(value);
    ForEachCombination(labels, values, visit);
    values.pop_back();
  }
}

template <typename Kind, typename Metric>
Kind& As(const Metric& metric) {
  Kind* const* found = std::get_if<Kind*>(&metric);
  LCKV_CHECK(found != nullptr);
  return **found;
}

}  // namespace

absl::string_view MetricTypeName(MetricType type) {
  switch (type) {
    case MetricType::kCounter:
      return "counter";
    case MetricType::kGauge:
      return "gauge";
    case MetricType::kHistogram:
      return "histogram";
  }
  return "unknown";
}

MetricsRegistry::MetricsRegistry(MetricTable table)
    : registry_(std::make_shared<prometheus::Registry>()) {
  Add(table);
  Add(ProcessMetricTable());
  process_ = std::make_unique<ProcessMetrics>(*this);
}

void MetricsRegistry::Add(MetricTable table) {
  for (const MetricDescriptor& descriptor : table) {
    CheckDescriptor(descriptor);
    LCKV_CHECK(descriptors_.emplace(descriptor.name, &descriptor).second);
    std::vector<absl::string_view> values;
    ForEachCombination(descriptor.labels, values,
                       [&](const auto& combination) { AddMetric(descriptor, combination); });
  }
}

void MetricsRegistry::AddMetric(const MetricDescriptor& descriptor,
                                const std::vector<absl::string_view>& values) {
  prometheus::Labels labels;
  for (size_t i = 0; i < values.size(); ++i) {
    labels.emplace(descriptor.labels[i].name, values[i]);
  }
  const std::string name(descriptor.name);
  const std::string help(descriptor.help);
  const auto make = [&](auto builder, const auto&... more) -> auto* {
    return &builder.Name(name).Help(help).Register(*registry_).Add(labels, more...);
  };
  Metric metric;
  switch (descriptor.type) {
    case MetricType::kCounter:
      metric = make(prometheus::BuildCounter());
      break;
    case MetricType::kGauge:
      metric = make(prometheus::BuildGauge());
      break;
    case MetricType::kHistogram:
      metric = make(prometheus::BuildHistogram(),
                    std::vector<double>(descriptor.buckets.begin(), descriptor.buckets.end()));
      break;
  }
  LCKV_CHECK(metrics_.emplace(Key(name, values), metric).second);
}

const MetricsRegistry::Metric& MetricsRegistry::Find(
    absl::string_view name, std::initializer_list<absl::string_view> values) const {
  const auto descriptor = descriptors_.find(name);
  LCKV_CHECK(descriptor != descriptors_.end());
  std::vector<absl::string_view> known(values);
  for (size_t i = 0; i < known.size(); ++i) {
    const auto listed = descriptor->second->labels[i].values;
    if (std::find(listed.begin(), listed.end(), known[i]) == listed.end()) known[i] = kOther;
  }
  const auto metric = metrics_.find(Key(name, known));
  LCKV_CHECK(metric != metrics_.end());
  return metric->second;
}

prometheus::Counter& MetricsRegistry::counter(
    absl::string_view name, std::initializer_list<absl::string_view> values) const {
  return As<prometheus::Counter>(Find(name, values));
}

prometheus::Gauge& MetricsRegistry::gauge(absl::string_view name,
                                          std::initializer_list<absl::string_view> values) const {
  return As<prometheus::Gauge>(Find(name, values));
}

prometheus::Histogram& MetricsRegistry::histogram(
    absl::string_view name, std::initializer_list<absl::string_view> values) const {
  return As<prometheus::Histogram>(Find(name, values));
}

std::string MetricsRegistry::Serialize() const {
  process_->Refresh();
  return prometheus::TextSerializer().Serialize(registry_->Collect());
}

std::string MetricsRegistry::SerializeOpenMetrics() const {
  process_->Refresh();
  return ToOpenMetrics(registry_->Collect());
}

}  // namespace lckv
