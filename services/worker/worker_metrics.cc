#include "services/worker/worker_metrics.h"

#include <string>

#include "base/check.h"

namespace lckv::worker {
namespace {

constexpr std::array<const char*, kRestoreOutcomes> kOutcomeNames = {
    "complete", "absent", "corrupt", "timeout", "transport", "pool_full", "layout"};
constexpr std::array<const char*, kSessionStates> kStateNames = {"restoring", "idle", "running",
                                                                 "evicting"};
constexpr char kSource[] = "cache_node";

std::vector<double> RowBuckets() { return {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024}; }

std::string OutcomeLabel(const absl::Status& status) {
  return status.ok() ? "ok" : absl::StatusCodeToString(status.code());
}

}  // namespace

absl::string_view Name(RestoreOutcome outcome) {
  return kOutcomeNames[static_cast<size_t>(outcome)];
}

// What autoscalers and the Gateway API inference extension read; their names are not ours.
struct WorkerMetrics::VllmNames {
  explicit VllmNames(MetricsRegistry* registry)
      : running(registry->AddGauge("vllm:num_requests_running", "Turns being evaluated.")),
        waiting(registry->AddGauge("vllm:num_requests_waiting", "Turns waiting for a slot.")),
        cache_usage(registry->AddGauge("vllm:kv_cache_usage_perc",
                                       "Used part of the KV pool; 1 is all of it.")),
        prompt_tokens(registry->AddCounter("vllm:prompt_tokens_total", "Input tokens.")),
        generation_tokens(registry->AddCounter("vllm:generation_tokens_total", "Output tokens.")),
        time_to_first_token(registry->AddHistogram("vllm:time_to_first_token_seconds",
                                                   "From a turn's receipt to its first token.",
                                                   TimeToFirstTokenBuckets())) {}
  prometheus::Gauge& running;
  prometheus::Gauge& waiting;
  prometheus::Gauge& cache_usage;
  prometheus::Counter& prompt_tokens;
  prometheus::Counter& generation_tokens;
  prometheus::Histogram& time_to_first_token;
};

WorkerMetrics::WorkerMetrics(MetricsRegistry* registry, bool vllm_names)
    : turns_(registry->AddCounterFamily("lckv_worker_turns_total", "Turns by outcome.")),
      time_to_first_token_(registry->AddHistogram("lckv_worker_time_to_first_token_seconds",
                                                  "From a turn's receipt to its first token.",
                                                  TimeToFirstTokenBuckets())),
      inter_token_(registry->AddHistogram("lckv_worker_inter_token_seconds",
                                          "Between two tokens of a turn.", InterTokenBuckets())),
      end_to_end_(registry->AddHistogram("lckv_worker_turn_seconds",
                                         "From a turn's receipt to its last frame.",
                                         DurationBuckets())),
      queue_wait_(registry->AddHistogram("lckv_worker_queue_wait_seconds",
                                         "Time that a turn waited for its turn.",
                                         DurationBuckets())),
      input_tokens_(registry->AddCounter("lckv_worker_input_tokens_total", "Input tokens.")),
      output_tokens_(registry->AddCounter("lckv_worker_output_tokens_total", "Output tokens.")),
      cached_tokens_(registry->AddCounter("lckv_worker_cached_tokens_total",
                                          "Transcript tokens whose KV was there.")),
      step_seconds_(registry->AddHistogram("lckv_worker_step_seconds", "One engine step.",
                                           InterTokenBuckets())),
      batch_rows_(registry->AddHistogram(
          "lckv_worker_batch_rows", "Rows of one engine step: tokens times passes.", RowBuckets())),
      encode_rows_(registry->AddCounter(
          "lckv_worker_encode_rows_total",
          "Rows of known tokens, all passes; divided by the input tokens: passes per token.")),
      decode_rows_(registry->AddCounter("lckv_worker_decode_rows_total", "Rows that decoded.")),
      checksum_failures_(registry->AddCounter("lckv_worker_checksum_failures_total",
                                              "Restored pages with a wrong checksum.")),
      fingerprint_mismatches_(registry->AddCounter("lckv_worker_fingerprint_mismatches_total",
                                                   "Sessions of another model.")),
      lease_conflicts_(registry->AddCounter("lckv_worker_lease_conflicts_total",
                                            "Leases that another worker held or had taken.")),
      push_bytes_(registry->AddCounter("lckv_worker_pushed_bytes_total",
                                       "KV page bytes sent to the cache node.")),
      push_seconds_(registry->AddHistogram(
          "lckv_worker_push_seconds", "One push of pages, commit included.", DurationBuckets())),
      push_failures_(registry->AddCounter("lckv_worker_push_failures_total", "Failed pushes.")),
      evictions_(registry->AddCounterFamily("lckv_worker_evictions_total",
                                            "Sessions that left the KV pool, by reason.")),
      drain_remaining_(registry->AddGauge("lckv_worker_drain_remaining_sessions",
                                          "Sessions that a drain has still to hand over.")),
      running_turns_(registry->AddGauge("lckv_worker_running_turns", "Turns being served.")),
      waiting_turns_(registry->AddGauge("lckv_worker_waiting_turns", "Turns waiting.")),
      pages_used_(registry->AddGauge("lckv_worker_kv_used_pages", "KV pages in use.")),
      pages_capacity_(registry->AddGauge("lckv_worker_kv_capacity_pages", "KV pages in all.")) {
  for (size_t i = 0; i < kSessionStates; ++i) {
    sessions_[i] = &registry->AddGauge("lckv_worker_sessions", "Hot sessions by state.",
                                       {{"state", kStateNames[i]}});
  }
  for (size_t i = 0; i < kRestoreOutcomes; ++i) {
    const MetricsRegistry::Labels labels = {{"source", kSource}, {"outcome", kOutcomeNames[i]}};
    restore_seconds_[i] =
        &registry->AddHistogram("lckv_worker_restore_seconds", "Restores by source and outcome.",
                                DurationBuckets(), labels);
    restored_bytes_[i] = &registry->AddCounter("lckv_worker_restored_bytes_total",
                                               "KV bytes restored by source and outcome.", labels);
    reencoded_tokens_[i] = &registry->AddCounter(
        "lckv_worker_reencoded_tokens_total",
        "Transcript tokens whose KV was computed again, by reason (complete: a replayed tail).",
        {{"reason", kOutcomeNames[i]}});
  }
  if (vllm_names) vllm_ = std::make_shared<VllmNames>(registry);
}

void WorkerMetrics::OnStep(const StepStats& stats) {
  step_seconds_.Observe(stats.seconds);
  batch_rows_.Observe(stats.decode_rows + stats.encode_rows);
  encode_rows_.Increment(stats.encode_rows);
  decode_rows_.Increment(stats.decode_rows);
}

void WorkerMetrics::OnTurn(const absl::Status& status, const v1::TurnResult& result) {
  turns_.Add({{"outcome", OutcomeLabel(status)}}).Increment();
  end_to_end_.Observe(result.timings().total_seconds());
  queue_wait_.Observe(result.timings().queue_seconds());
  input_tokens_.Increment(result.usage().input_tokens());
  output_tokens_.Increment(result.usage().generated_tokens());
  cached_tokens_.Increment(result.usage().cached_tokens());
  if (vllm_ != nullptr) {
    vllm_->prompt_tokens.Increment(result.usage().input_tokens());
    vllm_->generation_tokens.Increment(result.usage().generated_tokens());
  }
}

void WorkerMetrics::OnTimeToFirstToken(absl::Duration time) {
  time_to_first_token_.Observe(absl::ToDoubleSeconds(time));
  if (vllm_ != nullptr) vllm_->time_to_first_token.Observe(absl::ToDoubleSeconds(time));
}

void WorkerMetrics::OnInterToken(absl::Duration time) {
  inter_token_.Observe(absl::ToDoubleSeconds(time));
}

void WorkerMetrics::OnRestore(RestoreOutcome outcome, absl::Duration time, uint64_t bytes) {
  restore_seconds_[static_cast<size_t>(outcome)]->Observe(absl::ToDoubleSeconds(time));
  restored_bytes_[static_cast<size_t>(outcome)]->Increment(static_cast<double>(bytes));
}

void WorkerMetrics::OnReencoded(RestoreOutcome reason, int64_t tokens) {
  reencoded_tokens_[static_cast<size_t>(reason)]->Increment(static_cast<double>(tokens));
}

void WorkerMetrics::OnPush(const absl::Status& status, absl::Duration time, uint64_t bytes) {
  if (!status.ok()) return push_failures_.Increment();
  push_seconds_.Observe(absl::ToDoubleSeconds(time));
  push_bytes_.Increment(static_cast<double>(bytes));
}

void WorkerMetrics::OnEviction(absl::string_view reason) {
  evictions_.Add({{"reason", std::string(reason)}}).Increment();
}

void WorkerMetrics::SetLoad(const EngineLoad& load, int64_t running_turns, int64_t waiting_turns,
                            const std::vector<int64_t>& sessions_by_state) {
  LCKV_CHECK(sessions_by_state.size() == kSessionStates);
  running_turns_.Set(static_cast<double>(running_turns));
  waiting_turns_.Set(static_cast<double>(waiting_turns));
  pages_used_.Set(static_cast<double>(load.pages_used));
  pages_capacity_.Set(static_cast<double>(load.pages_capacity));
  for (size_t i = 0; i < kSessionStates; ++i) {
    sessions_[i]->Set(static_cast<double>(sessions_by_state[i]));
  }
  if (vllm_ == nullptr) return;
  vllm_->running.Set(static_cast<double>(running_turns));
  vllm_->waiting.Set(static_cast<double>(waiting_turns));
  if (load.pages_capacity > 0) {
    vllm_->cache_usage.Set(static_cast<double>(load.pages_used) /
                           static_cast<double>(load.pages_capacity));
  }
}

}  // namespace lckv::worker
