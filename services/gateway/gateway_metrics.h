#pragma once

#include <array>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "services/common/metrics.h"
#include "services/gateway/router.h"

namespace lckv::gateway {

// The gateway's metrics (gateway_metric_table.cc). Thread-safe.
class GatewayMetrics {
 public:
  GatewayMetrics();

  // A call ended.
  void CountRequest(absl::string_view method, absl::StatusCode code);
  void CountReject(absl::string_view reason);
  void SetTurnCapacity(int turns);
  void SetWorkers(const std::array<int, kWorkerStates>& by_state);

  const MetricsRegistry& registry() const { return registry_; }
  MetricsRegistry& registry() { return registry_; }

 private:
  MetricsRegistry registry_;
  std::array<prometheus::Gauge*, kWorkerStates> workers_;

 public:
  prometheus::Gauge& waiting_turns;  // admitted, no token yet
  prometheus::Gauge& running_turns;  // streaming
  prometheus::Histogram& time_to_first_token;
  prometheus::Histogram& inter_token_latency;
  prometheus::Histogram& turn_duration;
  prometheus::Counter& continuations;
  prometheus::Counter& generated_tokens;
  prometheus::Counter& worker_lookup_failures;
};

}  // namespace lckv::gateway
