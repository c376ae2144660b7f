#pragma once

#include "services/common/metric_table.h"

namespace lckv::gateway {

MetricTable GatewayMetricTable();

}  // namespace lckv::gateway
