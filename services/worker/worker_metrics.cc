#include "services/worker/worker_metrics.h"

#include "base/check.h"
#include "services/worker/worker_metric_table.h"

namespace lckv::worker {
namespace {

constexpr std::array<const char*, kRestoreOutcomes> kOutcomeNames = {
    "complete", "absent", "corrupt", "timeout", "transport", "pool_full", "layout"};
constexpr std::array<const char*, kSessionStates> kStateNames = {"restoring", "idle", "running",
                                                                 "evicting"};
constexpr std::array<const char*, 3> kStepKindNames = {"decode", "encode", "mixed"};
constexpr char kSource[] = "cache_node";
constexpr char kPhaseSeconds[] = "lckv_worker_step_phase_seconds_total";

MetricsRegistry* WithTable(MetricsRegistry* registry, MetricTable table) {
  registry->Add(table);
  return registry;
}

}  // namespace

absl::string_view Name(RestoreOutcome outcome) {
  return kOutcomeNames[static_cast<size_t>(outcome)];
}

struct WorkerMetrics::VllmNames {
  explicit VllmNames(MetricsRegistry* added) : registry(WithTable(added, VllmMetricTable())) {}

  MetricsRegistry* registry;
  prometheus::Gauge& running = registry->gauge("vllm:num_requests_running");
  prometheus::Gauge& waiting = registry->gauge("vllm:num_requests_waiting");
  prometheus::Gauge& cache_usage = registry->gauge("vllm:kv_cache_usage_perc");
  prometheus::Counter& prompt_tokens = registry->counter("vllm:prompt_tokens_total");
  prometheus::Counter& generation_tokens = registry->counter("vllm:generation_tokens_total");
  prometheus::Histogram& time_to_first_token =
      registry->histogram("vllm:time_to_first_token_seconds");
  prometheus::Histogram& inter_token = registry->histogram("vllm:inter_token_latency_seconds");
  prometheus::Histogram& end_to_end = registry->histogram("vllm:e2e_request_latency_seconds");
};

WorkerMetrics::WorkerMetrics(MetricsRegistry* registry, bool vllm_names)
    : registry_(WithTable(registry, WorkerMetricTable())),
      time_to_first_token_(registry->histogram("lckv_worker_time_to_first_token_seconds")),
      inter_token_(registry->histogram("lckv_worker_inter_token_latency_seconds")),
      end_to_end_(registry->histogram("lckv_worker_turn_duration_seconds")),
      queue_wait_(registry->histogram("lckv_worker_queue_wait_seconds")),
      input_tokens_(registry->counter("lckv_worker_input_tokens_total")),
      output_tokens_(registry->counter("lckv_worker_output_tokens_total")),
      cached_tokens_(registry->counter("lckv_worker_cached_tokens_total")),
      encoded_tokens_(registry->counter("lckv_worker_encoded_tokens_total")),
      batch_rows_(registry->histogram("lckv_worker_batch_rows")),
      batch_sequences_(registry->histogram("lckv_worker_batch_sequences")),
      encode_rows_(registry->counter("lckv_worker_encode_rows_total")),
      decode_rows_(registry->counter("lckv_worker_decode_rows_total")),
      schedule_seconds_(registry->counter(kPhaseSeconds, {"schedule"})),
      forward_seconds_(registry->counter(kPhaseSeconds, {"forward"})),
      commit_seconds_(registry->counter(kPhaseSeconds, {"commit"})),
      checksum_failures_(registry->counter("lckv_worker_checksum_failures_total")),
      fingerprint_mismatches_(registry->counter("lckv_worker_fingerprint_mismatches_total")),
      lease_conflicts_(registry->counter("lckv_worker_lease_conflicts_total")),
      push_bytes_(registry->counter("lckv_worker_pushed_bytes_total")),
      push_seconds_(registry->histogram("lckv_worker_push_seconds")),
      push_failures_(registry->counter("lckv_worker_push_failures_total")),
      drain_remaining_(registry->gauge("lckv_worker_drain_remaining_sessions")),
      unpushed_(registry->gauge("lckv_worker_unpushed_sessions")),
      running_turns_(registry->gauge("lckv_worker_running_turns")),
      waiting_turns_(registry->gauge("lckv_worker_waiting_turns")),
      turn_capacity_(registry->gauge("lckv_worker_turn_capacity")),
      pages_used_(registry->gauge("lckv_worker_kv_used_pages")),
      pages_capacity_(registry->gauge("lckv_worker_kv_capacity_pages")) {
  for (size_t i = 0; i < kStepKinds; ++i) {
    step_seconds_[i] = &registry->histogram("lckv_worker_step_seconds", {kStepKindNames[i]});
  }
  for (size_t i = 0; i < kSessionStates; ++i) {
    sessions_[i] = &registry->gauge("lckv_worker_sessions", {kStateNames[i]});
  }
  for (size_t i = 0; i < kRestoreOutcomes; ++i) {
    const char* outcome = kOutcomeNames[i];
    restore_seconds_[i] = &registry->histogram("lckv_worker_restore_seconds", {kSource, outcome});
    restored_bytes_[i] = &registry->counter("lckv_worker_restored_bytes_total", {kSource, outcome});
    reencoded_tokens_[i] = &registry->counter("lckv_worker_reencoded_tokens_total", {outcome});
  }
  if (vllm_names) vllm_ = std::make_shared<VllmNames>(registry);
}

void WorkerMetrics::OnStep(const StepStats& stats) {
  const StepKind kind = stats.encode_rows == 0   ? StepKind::kDecode
                        : stats.decode_rows == 0 ? StepKind::kEncode
                                                 : StepKind::kMixed;
  step_seconds_[static_cast<size_t>(kind)]->Observe(stats.seconds);
  batch_rows_.Observe(stats.decode_rows + stats.encode_rows);
  batch_sequences_.Observe(stats.sequences);
  encode_rows_.Increment(stats.encode_rows);
  decode_rows_.Increment(stats.decode_rows);
  schedule_seconds_.Increment(stats.schedule_seconds);
  forward_seconds_.Increment(stats.seconds - stats.schedule_seconds);
  commit_seconds_.Increment(stats.commit_seconds_before);
}

void WorkerMetrics::OnTurn(const absl::Status& status, const v1::TurnResult& result) {
  registry_->counter("lckv_worker_turns_total", {absl::StatusCodeToString(status.code())})
      .Increment();
  end_to_end_.Observe(result.timings().total_seconds());
  // Of a turn that failed the result says nothing.
  if (status.ok()) queue_wait_.Observe(result.timings().queue_seconds());
  input_tokens_.Increment(result.usage().input_tokens());
  output_tokens_.Increment(result.usage().generated_tokens());
  cached_tokens_.Increment(result.usage().cached_tokens());
  encoded_tokens_.Increment(result.usage().input_tokens() + result.usage().reencoded_tokens());
  if (vllm_ != nullptr) {
    vllm_->prompt_tokens.Increment(result.usage().input_tokens());
    vllm_->generation_tokens.Increment(result.usage().generated_tokens());
    vllm_->end_to_end.Observe(result.timings().total_seconds());
  }
}

void WorkerMetrics::OnTimeToFirstToken(absl::Duration time) {
  time_to_first_token_.Observe(absl::ToDoubleSeconds(time));
  if (vllm_ != nullptr) vllm_->time_to_first_token.Observe(absl::ToDoubleSeconds(time));
}

void WorkerMetrics::OnInterToken(absl::Duration time) {
  inter_token_.Observe(absl::ToDoubleSeconds(time));
  if (vllm_ != nullptr) vllm_->inter_token.Observe(absl::ToDoubleSeconds(time));
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
  registry_->counter("lckv_worker_evictions_total", {reason}).Increment();
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
