#include "services/cache_node/cache_metrics.h"

#include <filesystem>
#include <string>
#include <system_error>

#include "absl/strings/ascii.h"
#include "base/error_info.h"
#include "services/cache_node/cache_metric_table.h"

namespace lckv {
namespace {

constexpr char kChecksumFailures[] = "lckv_cache_checksum_failures_total";
constexpr char kPageLookups[] = "lckv_cache_page_lookups_total";

// "ok", the error's reason where it has one, else its code; all lower case. A small closed set.
std::string OutcomeOf(const absl::Status& status) {
  if (status.ok()) return "ok";
  const std::string reason = ErrorReason(status);
  return absl::AsciiStrToLower(reason.empty() ? absl::StatusCodeToString(status.code()) : reason);
}

}  // namespace

CacheMetrics::CacheMetrics()
    : registry_(CacheMetricTable()),
      sync_seconds_(registry_.histogram("lckv_cache_sync_seconds")),
      commit_checksum_failures_(registry_.counter(kChecksumFailures, {"commit"})),
      load_checksum_failures_(registry_.counter(kChecksumFailures, {"load"})),
      lease_conflicts_(registry_.counter("lckv_cache_lease_conflicts_total")),
      evictions_(registry_.counter("lckv_cache_evictions_total")),
      evicted_bytes_(registry_.counter("lckv_cache_evicted_bytes_total")),
      memory_lookups_(registry_.counter(kPageLookups, {"memory"})),
      storage_lookups_(registry_.counter(kPageLookups, {"storage"})),
      in_(FindTransfer("in")),
      out_(FindTransfer("out")),
      memory_bytes_(registry_.gauge("lckv_cache_bytes", {"memory"})),
      storage_bytes_(registry_.gauge("lckv_cache_bytes", {"storage"})),
      memory_capacity_bytes_(registry_.gauge("lckv_cache_capacity_bytes")),
      filesystem_free_bytes_(registry_.gauge("lckv_cache_filesystem_free_bytes")),
      filesystem_size_bytes_(registry_.gauge("lckv_cache_filesystem_size_bytes")),
      sessions_(registry_.gauge("lckv_cache_sessions")),
      session_capacity_(registry_.gauge("lckv_cache_session_capacity")),
      reservations_(registry_.gauge("lckv_cache_reservations")),
      read_leases_(registry_.gauge("lckv_cache_read_leases")) {}

CacheMetrics::Transfer CacheMetrics::FindTransfer(const char* direction) {
  return {registry_.counter("lckv_cache_transport_bytes_total", {direction}),
          registry_.histogram("lckv_cache_transport_seconds", {direction})};
}

void CacheMetrics::OnCommit(const absl::Status& outcome) {
  registry_.counter("lckv_cache_commits_total", {OutcomeOf(outcome)}).Increment();
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
  registry_.counter("lckv_cache_calls_total", {method, OutcomeOf(outcome)}).Increment();
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

void CacheMetrics::SetFilesystem(const std::string& folder) {
  std::error_code error;
  const std::filesystem::space_info space = std::filesystem::space(folder, error);
  if (error) return;
  filesystem_free_bytes_.Set(static_cast<double>(space.available));
  filesystem_size_bytes_.Set(static_cast<double>(space.capacity));
}

}  // namespace lckv
