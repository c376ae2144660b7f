#include "services/cache_node/cache_metrics.h"

#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "base/error_info.h"

namespace lckv {
namespace {

// From a fast disk's flush to one that is in trouble.
std::vector<double> SyncBuckets() {
  return {0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5};
}

// "ok", the error's reason where it has one, else its code; all lower case. A small closed set.
std::string OutcomeOf(const absl::Status& status) {
  if (status.ok()) return "ok";
  const std::string reason = ErrorReason(status);
  return absl::AsciiStrToLower(reason.empty() ? absl::StatusCodeToString(status.code()) : reason);
}

}  // namespace

CacheMetrics::CacheMetrics()
    : calls_(registry_.AddCounterFamily("lckv_cache_calls_total",
                                        "Calls of the Cache service by method and outcome")),
      commits_(registry_.AddCounterFamily("lckv_cache_commits_total", "Commits by outcome")),
      sync_seconds_(registry_.AddHistogram(
          "lckv_cache_sync_seconds",
          "Synced commits: from the write to the end of the group's fsync", SyncBuckets())),
      commit_checksum_failures_(registry_.AddCounter(
          "lckv_cache_checksum_failures_total",
          "Pages that differ from their checksum, by where it was noticed", {{"at", "commit"}})),
      load_checksum_failures_(registry_.AddCounter(
          "lckv_cache_checksum_failures_total",
          "Pages that differ from their checksum, by where it was noticed", {{"at", "load"}})),
      lease_conflicts_(registry_.AddCounter("lckv_lease_conflicts_total",
                                            "Refusals because of a held lease or a stale epoch")),
      evictions_(
          registry_.AddCounter("lckv_cache_evictions_total", "Pages evicted from the memory tier")),
      evicted_bytes_(registry_.AddCounter("lckv_cache_evicted_bytes_total",
                                          "Bytes evicted from the memory tier")),
      memory_lookups_(registry_.AddCounter("lckv_cache_page_lookups_total",
                                           "Pages wanted by workers, by the tier that had them",
                                           {{"tier", "memory"}})),
      storage_lookups_(registry_.AddCounter("lckv_cache_page_lookups_total",
                                            "Pages wanted by workers, by the tier that had them",
                                            {{"tier", "storage"}})),
      in_(AddTransfer("in")),
      out_(AddTransfer("out")),
      memory_bytes_(
          registry_.AddGauge("lckv_cache_bytes", "Bytes in use by tier", {{"tier", "memory"}})),
      storage_bytes_(
          registry_.AddGauge("lckv_cache_bytes", "Bytes in use by tier", {{"tier", "storage"}})),
      memory_capacity_bytes_(
          registry_.AddGauge("lckv_cache_capacity_bytes", "Size of the memory tier")),
      sessions_(registry_.AddGauge("lckv_cache_sessions", "Sessions stored")),
      reservations_(registry_.AddGauge("lckv_cache_reservations", "Reservations open")),
      read_leases_(registry_.AddGauge("lckv_cache_read_leases", "Read leases open")) {}

CacheMetrics::Transfer CacheMetrics::AddTransfer(const char* direction) {
  const MetricsRegistry::Labels labels = {{"direction", direction}};
  return {registry_.AddCounter("lckv_transport_bytes_total", "Page bytes moved", labels),
          registry_.AddHistogram("lckv_transport_seconds", "Page streams from first to last byte",
                                 DurationBuckets(), labels)};
}

void CacheMetrics::OnCommit(const absl::Status& outcome) {
  commits_.Add({{"outcome", OutcomeOf(outcome)}}).Increment();
}

void CacheMetrics::OnSync(absl::Duration write_and_sync) {
  sync_seconds_.Observe(absl::ToDoubleSeconds(write_and_sync));
}

void CacheMetrics::OnChecksumFailure(CrcSite site) {
  (site == CrcSite::kCommit ? commit_checksum_failures_ : load_checksum_failures_).Increment();
}

void CacheMetrics::OnLeaseConflict() { lease_conflicts_.Increment(); }

void CacheMetrics::OnEviction(uint64_t bytes) {
  evictions_.Increment();
  evicted_bytes_.Increment(static_cast<double>(bytes));
}

void CacheMetrics::OnPageLookup(bool in_memory) {
  (in_memory ? memory_lookups_ : storage_lookups_).Increment();
}

void CacheMetrics::OnCall(absl::string_view method, const absl::Status& outcome) {
  calls_.Add({{"method", std::string(method)}, {"outcome", OutcomeOf(outcome)}}).Increment();
}

void CacheMetrics::OnTransfer(Direction direction, uint64_t bytes, absl::Duration time) {
  const Transfer& transfer = direction == Direction::kIn ? in_ : out_;
  transfer.bytes.Increment(static_cast<double>(bytes));
  transfer.seconds.Observe(absl::ToDoubleSeconds(time));
}

void CacheMetrics::SetStats(const CacheStats& stats) {
  memory_bytes_.Set(static_cast<double>(stats.memory_bytes_used));
  storage_bytes_.Set(static_cast<double>(stats.storage_bytes));
  memory_capacity_bytes_.Set(static_cast<double>(stats.memory_bytes_capacity));
  sessions_.Set(static_cast<double>(stats.sessions));
  reservations_.Set(static_cast<double>(stats.reservations));
  read_leases_.Set(static_cast<double>(stats.read_leases));
}

}  // namespace lckv
