#pragma once

#include <prometheus/metric_family.h>

#include <string>
#include <vector>

namespace lckv {

// Counters, gauges and histograms in the OpenMetrics text format, version 1.0.0.
std::string ToOpenMetrics(const std::vector<prometheus::MetricFamily>& families);

}  // namespace lckv
