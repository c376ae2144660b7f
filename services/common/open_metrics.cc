#include "services/common/open_metrics.h"

#include <charconv>
#include <cmath>
#include <limits>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace lckv {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

// The shortest text that reads back as the same number; whole numbers end in ".0", which the format
// wants of bucket bounds.
std::string FormatNumber(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  char text[32];
  const auto end = std::to_chars(text, text + sizeof(text), value).ptr;
  std::string number(text, end);
  if (number.find_first_of(".e") == std::string::npos) number += ".0";
  return number;
}

std::string FormatLabels(const ClientMetric& metric, absl::string_view bound) {
  std::string out;
  const auto add = [&out](absl::string_view name, absl::string_view value) {
    absl::StrAppend(&out, out.empty() ? "{" : ",", name, "=\"",
                    absl::StrReplaceAll(value, {{"\\", "\\\\"}, {"\"", "\\\""}, {"\n", "\\n"}}),
                    "\"");
  };
  for (const ClientMetric::Label& label : metric.label) add(label.name, label.value);
  if (!bound.empty()) add("le", bound);
  return out.empty() ? out : out + "}";
}

void AppendSample(absl::string_view name, const ClientMetric& metric, absl::string_view bound,
                  absl::string_view value, std::string* out) {
  absl::StrAppend(out, name, FormatLabels(metric, bound), " ", value, "\n");
}

void AppendHistogram(absl::string_view name, const ClientMetric& metric, std::string* out) {
  const std::string bucket = absl::StrCat(name, "_bucket");
  for (const ClientMetric::Bucket& each : metric.histogram.bucket) {
    AppendSample(bucket, metric, FormatNumber(each.upper_bound),
                 absl::StrCat(each.cumulative_count), out);
  }
  AppendSample(absl::StrCat(name, "_count"), metric, "",
               absl::StrCat(metric.histogram.sample_count), out);
  AppendSample(absl::StrCat(name, "_sum"), metric, "", FormatNumber(metric.histogram.sample_sum),
               out);
}

absl::string_view TypeName(MetricType type) {
  switch (type) {
    case MetricType::Counter:
      return "counter";
    case MetricType::Gauge:
      return "gauge";
    case MetricType::Histogram:
      return "histogram";
    default:
      return "unknown";
  }
}

}  // namespace

std::string ToOpenMetrics(const std::vector<MetricFamily>& families) {
  std::string out;
  for (const MetricFamily& family : families) {
    // A counter's family is named without the suffix that its samples carry.
    absl::string_view name = family.name;
    if (family.type == MetricType::Counter) name = absl::StripSuffix(name, "_total");
    absl::StrAppend(
        &out, "# HELP ", name, " ",
        absl::StrReplaceAll(family.help, {{"\\", "\\\\"}, {"\"", "\\\""}, {"\n", "\\n"}}),
        "\n# TYPE ", name, " ", TypeName(family.type), "\n");
    for (const ClientMetric& metric : family.metric) {
      if (family.type == MetricType::Histogram) {
        AppendHistogram(name, metric, &out);
      } else {
        const bool counter = family.type == MetricType::Counter;
        AppendSample(family.name, metric, "",
                     FormatNumber(counter ? metric.counter.value : metric.gauge.value), &out);
      }
    }
  }
  return out + "# EOF\n";
}

}  // namespace lckv
