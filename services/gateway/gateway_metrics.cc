#include "services/gateway/gateway_metrics.h"

#include <string>

#include "services/gateway/gateway_metric_table.h"

namespace lckv::gateway {

GatewayMetrics::GatewayMetrics()
    : registry_(GatewayMetricTable()),
      waiting_turns(registry_.gauge("lckv_gateway_waiting_turns")),
      running_turns(registry_.gauge("lckv_gateway_running_turns")),
      time_to_first_token(registry_.histogram("lckv_gateway_time_to_first_token_seconds")),
      inter_token_latency(registry_.histogram("lckv_gateway_inter_token_latency_seconds")),
      turn_duration(registry_.histogram("lckv_gateway_turn_duration_seconds")),
      continuations(registry_.counter("lckv_gateway_continuations_total")),
      generated_tokens(registry_.counter("lckv_gateway_generated_tokens_total")),
      worker_lookup_failures(registry_.counter("lckv_gateway_worker_lookup_failures_total")) {
  for (int i = 0; i < kWorkerStates; ++i) {
    workers_[i] =
        &registry_.gauge("lckv_gateway_workers", {WorkerStateName(static_cast<WorkerState>(i))});
  }
}

void GatewayMetrics::CountRequest(absl::string_view method, absl::StatusCode code) {
  registry_.counter("lckv_gateway_requests_total", {absl::StatusCodeToString(code), method})
      .Increment();
}

void GatewayMetrics::CountReject(absl::string_view reason) {
  registry_.counter("lckv_gateway_admission_rejects_total", {reason}).Increment();
}

void GatewayMetrics::SetTurnCapacity(int turns) {
  registry_.gauge("lckv_gateway_turn_capacity").Set(turns);
}

void GatewayMetrics::SetWorkers(const std::array<int, kWorkerStates>& by_state) {
  for (int i = 0; i < kWorkerStates; ++i) workers_[i]->Set(by_state[i]);
}

}  // namespace lckv::gateway
