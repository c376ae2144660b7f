#include "services/gateway/gateway_metric_table.h"

namespace lckv::gateway {
namespace {

constexpr absl::string_view kMethods[] = {
    "Generate",     "Chat",     "OpenSession", "GetSession", "ListSessions", "TouchSession",
    "CloseSession", "Tokenize", "Detokenize",  "ListModels", "other"};
constexpr absl::string_view kRejectReasons[] = {"QUEUE_FULL", "DRAINING", "other"};
constexpr absl::string_view kWorkerStateNames[] = {"dead", "suspect", "starting", "ready",
                                                   "draining"};

constexpr MetricDescriptor kTable[] = {
    {.name = "lckv_gateway_requests_total",
     .type = MetricType::kCounter,
     .unit = "calls",
     .help = "Calls that ended, by method and status code.",
     .when_bad = "INTERNAL, UNAVAILABLE, UNKNOWN or DATA_LOSS are the system's fault and spend the "
                 "error budget: read the gateway's log lines of those turns, then the worker's. "
                 "RESOURCE_EXHAUSTED is overload: see lckv_gateway_admission_rejects_total.",
     .labels = {{{"code", kStatusCodeNames}, {"method", kMethods}}}},
    {.name = "lckv_gateway_admission_rejects_total",
     .type = MetricType::kCounter,
     .unit = "calls",
     .help = "Calls that were not let in, by reason.",
     .when_bad =
         "QUEUE_FULL grows: more turns than --max-concurrent-turns. Add gateways or raise it, "
         "if the workers are not the limit. DRAINING is a gateway that is shut down.",
     .labels = {{{"reason", kRejectReasons}}}},
    {.name = "lckv_gateway_waiting_turns",
     .unit = "turns",
     .help = "Turns that are admitted and have no token yet.",
     .when_bad = "Stays high: workers are behind. Add workers."},
    {.name = "lckv_gateway_running_turns",
     .unit = "turns",
     .help = "Turns that are streaming.",
     .when_bad = "Near lckv_gateway_turn_capacity: the next turns are refused. Add gateways."},
    {.name = "lckv_gateway_turn_capacity",
     .unit = "turns",
     .help = "Turns that may be in progress at once.",
     .when_bad = "Never by itself; compare running and waiting turns with it."},
    {.name = "lckv_gateway_time_to_first_token_seconds",
     .type = MetricType::kHistogram,
     .unit = "seconds",
     .help = "From a turn's arrival to its first token, as the gateway sees it.",
     .when_bad = "Above the objective: compare lckv_worker_queue_wait_seconds (add workers), "
                 "lckv_worker_restore_seconds (cache node or network) and the length of inputs.",
     .buckets = kTimeToFirstTokenBuckets},
    {.name = "lckv_gateway_inter_token_latency_seconds",
     .type = MetricType::kHistogram,
     .unit = "seconds",
     .help = "Time between tokens of one turn, as the gateway sees it.",
     .when_bad = "Above the objective: steps are too long. Lower --step-tokens or --max-running, "
                 "or add workers. A few very long ones are turns that moved to another worker.",
     .buckets = kInterTokenBuckets},
    {.name = "lckv_gateway_turn_duration_seconds",
     .type = MetricType::kHistogram,
     .unit = "seconds",
     .help = "From a turn's arrival to its end.",
     .when_bad = "Grows with the length of replies; longer without that, see the two above.",
     .buckets = kDurationBuckets},
    {.name = "lckv_gateway_continuations_total",
     .type = MetricType::kCounter,
     .unit = "continuations",
     .help = "Times a broken stream went on on another worker.",
     .when_bad = "Grows outside of rollouts: workers die or stall. Read their last log lines."},
    {.name = "lckv_gateway_api_keys",
     .unit = "keys",
     .help = "API keys that are known; 0 without --api-keys (everybody is let in) and with an "
             "empty list (nobody is).",
     .when_bad = "Not what the file of --api-keys holds: see the loads."},
    {.name = "lckv_gateway_api_key_loads_total",
     .type = MetricType::kCounter,
     .unit = "loads",
     .help = "Times the file of --api-keys was read because it changed.",
     .when_bad = "failed grows: the new file is broken and the keys of before stay. The log says "
                 "where it is wrong.",
     .labels = {{{"outcome", kLoadOutcomes}}}},
    {.name = "lckv_gateway_worker_lookup_failures_total",
     .type = MetricType::kCounter,
     .unit = "look-ups",
     .help = "Look-ups of --worker-service that brought no addresses.",
     .when_bad = "Grows: the name does not resolve. Known workers stay, new ones are not found. "
                 "Check the service's name and the cluster's DNS."},
    {.name = "lckv_gateway_generated_tokens_total",
     .type = MetricType::kCounter,
     .unit = "tokens",
     .help = "Generated tokens relayed to clients.",
     .when_bad = "Stands still while turns are running: workers hang."},
    {.name = "lckv_gateway_workers",
     .unit = "workers",
     .help = "Workers that the gateway knows, by state.",
     .when_bad =
         "None ready: no turn is served. dead or suspect: the worker is down, or the network "
         "between it and the gateway.",
     .labels = {{{"state", kWorkerStateNames}}}},
};

}  // namespace

MetricTable GatewayMetricTable() { return kTable; }

}  // namespace lckv::gateway
