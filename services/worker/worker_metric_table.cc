#include "services/worker/worker_metric_table.h"

namespace lckv::worker {
namespace {

constexpr absl::string_view kStepKinds[] = {"decode", "encode", "mixed"};
constexpr absl::string_view kStepPhases[] = {"schedule", "forward", "commit"};
constexpr absl::string_view kSources[] = {"cache_node"};
constexpr absl::string_view kRestoreOutcomeNames[] = {
    "complete", "absent", "corrupt", "timeout", "transport", "pool_full", "layout"};
constexpr absl::string_view kEvictionReasons[] = {"idle",    "pressure", "drain",
                                                  "offload", "lost",     "other"};
constexpr absl::string_view kSessionStateNames[] = {"restoring", "idle", "running", "evicting"};

constexpr double kCountBuckets[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024};

constexpr MetricDescriptor kTable[] = {
    {.name = "lckv_worker_turns_total",
     .type = MetricType::kCounter,
     .unit = "turns",
     .help = "Turns that ended, by outcome.",
     .when_bad = "INTERNAL: the engine or device failed; read the log. RESOURCE_EXHAUSTED: "
                 "overload. ABORTED: see lckv_worker_lease_conflicts_total. UNAVAILABLE: a "
                 "drain, or the cache node is away.",
     .labels = {{{"outcome", kStatusCodeNames}}}},
    {.name = "lckv_worker_time_to_first_token_seconds",
     .type = MetricType::kHistogram,
     .unit = "seconds",
     .help = "From a turn's receipt to its first token.",
     .when_bad = "As lckv_gateway_time_to_first_token_seconds, for one worker: one that is "
                 "slower than the others has a noisy neighbour or a slow device.",
     .buckets = kTimeToFirstTokenBuckets},
    {.name = "lckv_worker_inter_token_latency_seconds",
     .type = MetricType::kHistogram,
     .unit = "seconds",
     .help = "Between two tokens of a turn.",
     .when_bad = "As lckv_gateway_inter_token_latency_seconds, for one worker.",
     .buckets = kInterTokenBuckets},
    {.name = "lckv_worker_turn_duration_seconds",
     .type = MetricType::kHistogram,
     .unit = "seconds",
     .help = "From a turn's receipt to its last frame.",
     .when_bad = "Grows with the length of replies.",
     .buckets = kDurationBuckets},
    {.name = "lckv_worker_queue_wait_seconds",
     .type = MetricType::kHistogram,
     .unit = "seconds",
     .help = "Time that a turn waited before its first step, of turns that succeeded.",
     .when_bad = "Seconds: the worker has more turns than it runs at once. Add workers.",
     .buckets = kDurationBuckets},
    {.name = "lckv_worker_input_tokens_total",
     .type = MetricType::kCounter,
     .unit = "tokens",
     .help = "Input tokens of turns.",
     .when_bad = "Never by itself: it is the load."},
    {.name = "lckv_worker_output_tokens_total",
     .type = MetricType::kCounter,
     .unit = "tokens",
     .help = "Generated tokens of turns.",
     .when_bad = "Never by itself: it is the load."},
    {.name = "lckv_worker_cached_tokens_total",
     .type = MetricType::kCounter,
     .unit = "tokens",
     .help = "Transcript tokens whose KV was there when their turn began.",
     .when_bad = "Small beside lckv_worker_reencoded_tokens_total: sessions lose their KV; see "
                 "the reasons there."},
    {.name = "lckv_worker_step_seconds",
     .type = MetricType::kHistogram,
     .unit = "seconds",
     .help = "Engine steps, by what was in them: decode, encode, or both.",
     .when_bad = "Decode steps grow: the batch or the contexts did. Mixed steps are long: lower "
                 "--step-tokens.",
     .labels = {{{"kind", kStepKinds}}},
     .buckets = kInterTokenBuckets},
    {.name = "lckv_worker_step_phase_seconds_total",
     .type = MetricType::kCounter,
     .unit = "seconds",
     .help = "Time of the step loop, by phase: schedule, forward (sampling included), commit "
             "(handing out tokens).",
     .when_bad = "schedule and commit should be a few percent of forward; more means very small "
                 "models or a starved CPU.",
     .labels = {{{"phase", kStepPhases}}}},
    {.name = "lckv_worker_batch_rows",
     .type = MetricType::kHistogram,
     .unit = "rows",
     .help = "Rows of one engine step: tokens times passes.",
     .when_bad = "Always 1 under load: turns arrive one after the other, or run on too many "
                 "workers.",
     .buckets = kCountBuckets},
    {.name = "lckv_worker_batch_sequences",
     .type = MetricType::kHistogram,
     .unit = "sequences",
     .help = "Turns that took part in one engine step.",
     .when_bad = "Near the running turns is good. Fewer: inputs wait for their passes.",
     .buckets = kCountBuckets},
    {.name = "lckv_worker_encode_rows_total",
     .type = MetricType::kCounter,
     .unit = "rows",
     .help = "Rows of known tokens, all passes; divided by the tokens encoded it is the "
             "passes per token.",
     .when_bad = "Passes per token above the model's K: sessions ask for more, or replays are "
                 "counted in."},
    {.name = "lckv_worker_encoded_tokens_total",
     .type = MetricType::kCounter,
     .unit = "tokens",
     .help = "Known tokens whose KV was computed: inputs, and what was lost.",
     .when_bad = "More than the input tokens by far: KV is computed again; see "
                 "lckv_worker_reencoded_tokens_total."},
    {.name = "lckv_worker_decode_rows_total",
     .type = MetricType::kCounter,
     .unit = "rows",
     .help = "Rows that decoded.",
     .when_bad = "Never by itself: it is the load."},
    {.name = "lckv_worker_restore_seconds",
     .type = MetricType::kHistogram,
     .unit = "seconds",
     .help = "Restores of sessions, by source and outcome.",
     .when_bad = "Seconds: the cache node reads from disk (lckv_cache_page_lookups_total) or the "
                 "network is slow.",
     .labels = {{{"source", kSources}, {"outcome", kRestoreOutcomeNames}}},
     .buckets = kDurationBuckets},
    {.name = "lckv_worker_restored_bytes_total",
     .type = MetricType::kCounter,
     .unit = "bytes",
     .help = "KV bytes restored, by source and outcome.",
     .when_bad = "Near the network's bandwidth: sessions go and come too often; raise "
                 "--idle-evict-seconds or --kv-memory.",
     .labels = {{{"source", kSources}, {"outcome", kRestoreOutcomeNames}}}},
    {.name = "lckv_worker_reencoded_tokens_total",
     .type = MetricType::kCounter,
     .unit = "tokens",
     .help = "Transcript tokens whose KV was computed again, by reason (complete: the tail "
             "that was not pushed yet).",
     .when_bad = "absent: the cache node lost pages. corrupt: its disk or memory. timeout, "
                 "transport: the network or --restore-timeout. pool_full: raise --kv-memory. "
                 "layout: another page format.",
     .labels = {{{"reason", kRestoreOutcomeNames}}}},
    {.name = "lckv_worker_checksum_failures_total",
     .type = MetricType::kCounter,
     .unit = "pages",
     .help = "Restored pages with a wrong checksum; they were dropped and computed again.",
     .when_bad = "Any: bytes changed in the cache node, on the network or in this machine's "
                 "memory. If lckv_cache_checksum_failures_total grows too, it is the cache node."},
    {.name = "lckv_worker_fingerprint_mismatches_total",
     .type = MetricType::kCounter,
     .unit = "sessions",
     .help = "Sessions of another model, weight or KV format.",
     .when_bad = "Grows outside of a model change: workers of different models share one cache "
                 "node."},
    {.name = "lckv_worker_lease_conflicts_total",
     .type = MetricType::kCounter,
     .unit = "conflicts",
     .help = "Leases that another worker held or had taken.",
     .when_bad = "Grows outside of worker deaths: two gateways disagree on who is alive, or "
                 "workers pause longer than --lease-ttl."},
    {.name = "lckv_worker_pushed_bytes_total",
     .type = MetricType::kCounter,
     .unit = "bytes",
     .help = "KV page bytes sent to the cache node.",
     .when_bad = "Stands still under load: see lckv_worker_push_failures_total."},
    {.name = "lckv_worker_push_seconds",
     .type = MetricType::kHistogram,
     .unit = "seconds",
     .help = "Pushes of pages, commit included.",
     .when_bad = "Seconds: the cache node's disk (lckv_cache_sync_seconds) or the network is "
                 "slow.",
     .buckets = kDurationBuckets},
    {.name = "lckv_worker_push_failures_total",
     .type = MetricType::kCounter,
     .unit = "pushes",
     .help = "Failed pushes; they are tried again.",
     .when_bad = "Grows: the cache node is away or full. Until it is back, a worker's death "
                 "costs computing again."},
    {.name = "lckv_worker_evictions_total",
     .type = MetricType::kCounter,
     .unit = "sessions",
     .help = "Sessions that left the KV pool, by reason.",
     .when_bad = "pressure: the pool is too small for the sessions in use; raise --kv-memory or "
                 "add workers. lost: another worker took the session, or its state could not be "
                 "kept.",
     .labels = {{{"reason", kEvictionReasons}}}},
    {.name = "lckv_worker_drain_remaining_sessions",
     .unit = "sessions",
     .help = "Sessions that a drain has still to hand over; 0 when no drain is on.",
     .when_bad = "Stands still: the cache node does not take them. What is left when the grace "
                 "period ends is computed again elsewhere."},
    {.name = "lckv_worker_unpushed_sessions",
     .unit = "sessions",
     .help = "Idle sessions of which the cache node has not all KV yet: what would be computed "
             "again if the worker died now.",
     .when_bad = "Stays above 0: pushes fail or are slow (lckv_worker_push_failures_total, "
                 "lckv_worker_push_seconds). Wait for 0 before a backup."},
    {.name = "lckv_worker_sessions",
     .unit = "sessions",
     .help = "Sessions in the worker, by state.",
     .when_bad = "restoring stays high: the cache node is slow. idle is memory that waits for "
                 "its owners.",
     .labels = {{{"state", kSessionStateNames}}}},
    {.name = "lckv_worker_running_turns",
     .unit = "turns",
     .help = "Turns being evaluated.",
     .when_bad = "At lckv_worker_turn_capacity with waiting turns: add workers."},
    {.name = "lckv_worker_waiting_turns",
     .unit = "turns",
     .help = "Turns waiting for one of the running to end.",
     .when_bad = "Above 0 for minutes: add workers; autoscale on it."},
    {.name = "lckv_worker_turn_capacity",
     .unit = "turns",
     .help = "Turns that run at once.",
     .when_bad = "Never by itself; compare running turns with it."},
    {.name = "lckv_worker_kv_used_pages",
     .unit = "pages",
     .help = "KV pages in use.",
     .when_bad = "Near lckv_worker_kv_capacity_pages with evictions by pressure or "
                 "RESOURCE_EXHAUSTED turns: raise --kv-memory or add workers. Full without them "
                 "is good: that is what the memory is for."},
    {.name = "lckv_worker_kv_capacity_pages",
     .unit = "pages",
     .help = "KV pages in all.",
     .when_bad = "Smaller than planned: see lckv plan."},
};

constexpr MetricDescriptor kVllmTable[] = {
    {.name = "vllm:num_requests_running",
     .unit = "turns",
     .help = "Turns being evaluated.",
     .when_bad = "As lckv_worker_running_turns."},
    {.name = "vllm:num_requests_waiting",
     .unit = "turns",
     .help = "Turns waiting for a slot.",
     .when_bad = "As lckv_worker_waiting_turns."},
    {.name = "vllm:kv_cache_usage_perc",
     .unit = "ratio",
     .help = "Used part of the KV pool; 1 is all of it.",
     .when_bad = "As lckv_worker_kv_used_pages."},
    {.name = "vllm:prompt_tokens_total",
     .type = MetricType::kCounter,
     .unit = "tokens",
     .help = "Input tokens.",
     .when_bad = "As lckv_worker_input_tokens_total."},
    {.name = "vllm:generation_tokens_total",
     .type = MetricType::kCounter,
     .unit = "tokens",
     .help = "Generated tokens.",
     .when_bad = "As lckv_worker_output_tokens_total."},
    {.name = "vllm:time_to_first_token_seconds",
     .type = MetricType::kHistogram,
     .unit = "seconds",
     .help = "From a turn's receipt to its first token.",
     .when_bad = "As lckv_worker_time_to_first_token_seconds.",
     .buckets = kTimeToFirstTokenBuckets},
    {.name = "vllm:inter_token_latency_seconds",
     .type = MetricType::kHistogram,
     .unit = "seconds",
     .help = "Between two tokens of a turn.",
     .when_bad = "As lckv_worker_inter_token_latency_seconds.",
     .buckets = kInterTokenBuckets},
    {.name = "vllm:e2e_request_latency_seconds",
     .type = MetricType::kHistogram,
     .unit = "seconds",
     .help = "From a turn's receipt to its last frame.",
     .when_bad = "As lckv_worker_turn_duration_seconds.",
     .buckets = kDurationBuckets},
};

}  // namespace

MetricTable WorkerMetricTable() { return kTable; }

MetricTable VllmMetricTable() { return kVllmTable; }

}  // namespace lckv::worker
