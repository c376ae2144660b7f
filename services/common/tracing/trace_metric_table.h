#pragma once

#include "services/common/metric_table.h"

namespace lckv {

// What every service counts of its spans.
MetricTable TraceMetricTable();

}  // namespace lckv
