#include "services/gateway/gateway_metrics.h"

#include <string>

namespace lckv::gateway {

GatewayMetrics::GatewayMetrics()
    : requests_(registry_.AddCounterFamily("lckv_gateway_requests_total",
                                           "Calls by method and status code.")),
      rejects_(registry_.AddCounterFamily("lckv_gateway_admission_rejects_total",
                                          "Calls that were not let in, by reason.")),
      waiting_turns(registry_.AddGauge("lckv_gateway_waiting_turns",
                                       "Turns that are admitted and have no token yet.")),
      running_turns(registry_.AddGauge("lckv_gateway_running_turns", "Turns that are streaming.")),
      time_to_first_token(registry_.AddHistogram(
          "lckv_gateway_time_to_first_token_seconds",
          "From a turn's arrival to its first token, as the gateway sees it.",
          TimeToFirstTokenBuckets())),
      inter_token_latency(registry_.AddHistogram("lckv_gateway_inter_token_latency_seconds",
                                                 "Time between tokens of one turn.",
                                                 InterTokenBuckets())),
      turn_duration(registry_.AddHistogram("lckv_gateway_turn_duration_seconds",
                                           "From a turn's arrival to its end.", DurationBuckets())),
      continuations(registry_.AddCounter("lckv_gateway_continuations_total",
                                         "Times a broken stream went on on another worker.")),
      generated_tokens(registry_.AddCounter("lckv_gateway_generated_tokens_total",
                                            "Generated tokens relayed to clients.")),
      worker_lookup_failures(
          registry_.AddCounter("lckv_gateway_worker_lookup_failures_total",
                               "Look-ups of --worker-service that brought no addresses.")) {
  for (int i = 0; i < kWorkerStates; ++i) {
    const absl::string_view state = WorkerStateName(static_cast<WorkerState>(i));
    workers_[i] = &registry_.AddGauge("lckv_gateway_workers", "Workers by state.",
                                      {{"state", std::string(state)}});
  }
}

void GatewayMetrics::CountRequest(absl::string_view method, absl::StatusCode code) {
  requests_.Add({{"method", std::string(method)}, {"code", absl::StatusCodeToString(code)}})
      .Increment();
}

void GatewayMetrics::CountReject(absl::string_view reason) {
  rejects_.Add({{"reason", std::string(reason)}}).Increment();
}

void GatewayMetrics::SetWorkers(const std::array<int, kWorkerStates>& by_state) {
  for (int i = 0; i < kWorkerStates; ++i) workers_[i]->Set(by_state[i]);
}

}  // namespace lckv::gateway
