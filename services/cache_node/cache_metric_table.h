#pragma once

#include "services/common/metric_table.h"

namespace lckv {

MetricTable CacheMetricTable();

}  // namespace lckv
