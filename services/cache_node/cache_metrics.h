#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "cache/core/cache_core.h"
#include "cache/core/cache_observer.h"
#include "services/common/metrics.h"

namespace lckv {

// The cache node's metrics (cache_metric_table.cc). Owns its registry. Thread-safe.
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
  void SetSessionCapacity(size_t sessions) { session_capacity_.Set(static_cast<double>(sessions)); }
  void SetStats(const CacheStats& stats);
  // Room on the file system of `folder`. What cannot be read keeps its value.
  void SetFilesystem(const std::string& folder);

  const MetricsRegistry& registry() const { return registry_; }
  MetricsRegistry& registry() { return registry_; }

 private:
  struct Transfer {
    prometheus::Counter& bytes;
    prometheus::Histogram& seconds;
  };
  Transfer FindTransfer(const char* direction);

  MetricsRegistry registry_;
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
  prometheus::Gauge& filesystem_free_bytes_;
  prometheus::Gauge& filesystem_size_bytes_;
  prometheus::Gauge& sessions_;
  prometheus::Gauge& session_capacity_;
  prometheus::Gauge& reservations_;
  prometheus::Gauge& read_leases_;
};

}  // namespace lckv
