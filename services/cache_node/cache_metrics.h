#pragma once

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "cache/core/cache_core.h"
#include "cache/core/cache_observer.h"
#include "services/common/metrics.h"

namespace lckv {

// The cache node's metrics (docs: design section 10). Owns its registry. Thread-safe.
class CacheMetrics final : public CacheObserver {
 public:
  enum class Direction { kIn, kOut };  // pages from workers, pages to workers

  CacheMetrics();

  void OnCommit(const absl::Status& outcome) override;
  void OnSync(absl::Duration write_and_sync) override;
  void OnChecksumFailure(CrcSite site) override;
  void OnLeaseConflict() override;
  void OnEviction(uint64_t bytes) override;
  void OnPageLookup(bool in_memory) override;

  // A call of the Cache service ended.
  void OnCall(absl::string_view method, const absl::Status& outcome);
  // A page stream ended, having moved `bytes`.
  void OnTransfer(Direction direction, uint64_t bytes, absl::Duration time);
  void SetStats(const CacheStats& stats);

  const MetricsRegistry& registry() const { return registry_; }

 private:
  struct Transfer {
    prometheus::Counter& bytes;
    prometheus::Histogram& seconds;
  };
  Transfer AddTransfer(const char* direction);

  MetricsRegistry registry_;
  prometheus::Family<prometheus::Counter>& calls_;
  prometheus::Family<prometheus::Counter>& commits_;
  prometheus::Histogram& sync_seconds_;
  prometheus::Counter& commit_checksum_failures_;
  prometheus::Counter& load_checksum_failures_;
  prometheus::Counter& lease_conflicts_;
  prometheus::Counter& evictions_;
  prometheus::Counter& evicted_bytes_;
  prometheus::Counter& memory_lookups_;
  prometheus::Counter& storage_lookups_;
  const Transfer in_;
  const Transfer out_;
  prometheus::Gauge& memory_bytes_;
  prometheus::Gauge& storage_bytes_;
  prometheus::Gauge& memory_capacity_bytes_;
  prometheus::Gauge& sessions_;
  prometheus::Gauge& reservations_;
  prometheus::Gauge& read_leases_;
};

}  // namespace lckv
