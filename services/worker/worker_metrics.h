#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "engine/runtime/engine.h"
#include "lckv/v1/inference.pb.h"
#include "services/common/metrics.h"
#include "services/worker/session_store.h"

namespace lckv::worker {

// Why less KV came back from the cache node than it should hold.
enum class RestoreOutcome {
  kComplete,   // all of it came back, or there was none
  kAbsent,     // the cache node has lost or never had pages
  kCorrupt,    // a page's checksum differed
  kTimeout,    // not back by --restore-timeout
  kTransport,  // the transport failed
  kPoolFull,   // no room for it, also after evicting
  kLayout,     // pages of another shape
};
inline constexpr int kRestoreOutcomes = 7;
absl::string_view Name(RestoreOutcome outcome);

// The worker's metrics (worker_metric_table.cc), added to `registry`, which must outlive it.
// Thread-safe.
class WorkerMetrics : public EngineObserver {
 public:
  // `vllm_names`: also the names that autoscalers read, which begin with "vllm:".
  WorkerMetrics(MetricsRegistry* registry, bool vllm_names);

  // Engine, on its step loop's thread.
  void OnStep(const StepStats& stats) override;

  // A turn's end: `status` decides the outcome label.
  void OnTurn(const absl::Status& status, const v1::TurnResult& result);
  void OnTimeToFirstToken(absl::Duration time);
  void OnInterToken(absl::Duration time);
  void OnRestore(RestoreOutcome outcome, absl::Duration time, uint64_t bytes);
  // Tokens of a restored session whose KV had to be computed again, and why.
  void OnReencoded(RestoreOutcome reason, int64_t tokens);
  void OnChecksumFailure() { checksum_failures_.Increment(); }
  void OnFingerprintMismatch() { fingerprint_mismatches_.Increment(); }
  void OnLeaseConflict() { lease_conflicts_.Increment(); }
  void OnPush(const absl::Status& status, absl::Duration time, uint64_t bytes);
  void OnEviction(absl::string_view reason);  // "idle", "pressure", "drain", "offload", "lost"
  void SetDrainRemaining(int64_t sessions) { drain_remaining_.Set(static_cast<double>(sessions)); }

  void SetTurnCapacity(int turns) { turn_capacity_.Set(turns); }
  void SetUnpushed(int64_t sessions) { unpushed_.Set(static_cast<double>(sessions)); }
  // Gauges, refreshed by the worker's maintenance.
  void SetLoad(const EngineLoad& load, int64_t running_turns, int64_t waiting_turns,
               const std::vector<int64_t>& sessions_by_state);

 private:
  struct VllmNames;

  enum class StepKind { kDecode, kEncode, kMixed };
  static constexpr size_t kStepKinds = 3;

  MetricsRegistry* const registry_;
  prometheus::Histogram& time_to_first_token_;
  prometheus::Histogram& inter_token_;
  prometheus::Histogram& end_to_end_;
  prometheus::Histogram& queue_wait_;
  prometheus::Counter& input_tokens_;
  prometheus::Counter& output_tokens_;
  prometheus::Counter& cached_tokens_;
  prometheus::Counter& encoded_tokens_;
  prometheus::Histogram& batch_rows_;
  prometheus::Histogram& batch_sequences_;
  prometheus::Counter& encode_rows_;
  prometheus::Counter& decode_rows_;
  prometheus::Counter& schedule_seconds_;
  prometheus::Counter& forward_seconds_;
  prometheus::Counter& commit_seconds_;
  prometheus::Counter& checksum_failures_;
  prometheus::Counter& fingerprint_mismatches_;
  prometheus::Counter& lease_conflicts_;
  prometheus::Counter& push_bytes_;
  prometheus::Histogram& push_seconds_;
  prometheus::Counter& push_failures_;
  prometheus::Gauge& drain_remaining_;
  prometheus::Gauge& unpushed_;
  prometheus::Gauge& running_turns_;
  prometheus::Gauge& waiting_turns_;
  prometheus::Gauge& turn_capacity_;
  prometheus::Gauge& pages_used_;
  prometheus::Gauge& pages_capacity_;
  std::array<prometheus::Histogram*, kStepKinds> step_seconds_{};
  std::array<prometheus::Gauge*, kSessionStates> sessions_{};
  std::array<prometheus::Histogram*, kRestoreOutcomes> restore_seconds_{};
  std::array<prometheus::Counter*, kRestoreOutcomes> restored_bytes_{};
  std::array<prometheus::Counter*, kRestoreOutcomes> reencoded_tokens_{};
  std::shared_ptr<VllmNames> vllm_;  // null: off
};

}  // namespace lckv::worker
