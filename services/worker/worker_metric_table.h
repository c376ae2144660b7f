#pragma once

#include "services/common/metric_table.h"

namespace lckv::worker {

MetricTable WorkerMetricTable();
// What autoscalers and the Gateway API inference extension read; the names are not ours.
MetricTable VllmMetricTable();

}  // namespace lckv::worker
