#pragma once

#include <array>
#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "lckv/v1/worker.pb.h"
#include "services/gateway/router.h"

namespace lckv::gateway {

// What is known of the workers, from their load reports alone: state, load, and which sessions are
// hot where. Workers have numbers, which are not used again. A worker without a report for
// `suspect_after` is suspect. Of each worker at most kMaxHotSessions are remembered: for the others
// a turn finds its holder by the answer LEASE_HELD. Thread-safe.
class WorkerTable {
 public:
  static constexpr size_t kMaxHotSessions = 1 << 20;

  // Has workers 0 to `workers` - 1.
  WorkerTable(size_t workers, absl::Duration suspect_after, Clock* clock);

  // The number of a new worker, dead until its first report.
  size_t Add();
  // REQUIRES: no call for this number afterwards.
  void Remove(size_t index);
  // A report of the worker with number `index`.
  void Apply(size_t index, const v1::LoadReport& report);
  // Its load stream broke: dead, and nothing is hot there any more.
  void MarkBroken(size_t index);
  // A turn was sent to this worker: counts until its next report, so that a burst spreads out.
  void NoteAssigned(absl::string_view worker_id);

  Placement PlacementOf(absl::string_view tenant, absl::string_view session_id) const;
  // The worker in which the session is hot; empty: none known.
  std::string HolderOf(absl::string_view tenant, absl::string_view session_id) const;
  // kDead for an id that no worker has.
  WorkerState StateOf(absl::string_view worker_id) const;
  // The number of the worker with this id; nothing when it never reported.
  std::optional<size_t> IndexOf(absl::string_view worker_id) const;
  // Workers by WorkerState.
  std::array<int, kWorkerStates> CountByState() const;

 private:
  struct Worker {
    v1::LoadReport report;  // the last one, without its session lists
    bool connected = false;
    absl::Time last_report;
    uint32_t assigned = 0;  // since the last report
    absl::flat_hash_set<std::string> hot;
  };

  Worker& WorkerLocked(size_t index) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  WorkerState StateLocked(const Worker& worker) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  std::optional<size_t> IndexLocked(absl::string_view worker_id) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void AddHotLocked(size_t index, const v1::SessionKey& key) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void DropHotLocked(size_t index, const std::string& key) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void ClearHotLocked(size_t index) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  std::string HolderLocked(const std::string& key) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const absl::Duration suspect_after_;
  Clock* const clock_;
  mutable Mutex mu_;
  // By number. No more than a thousand or so: those with some id are found by looking at each.
  std::map<size_t, Worker> workers_ ABSL_GUARDED_BY(mu_);
  size_t next_ ABSL_GUARDED_BY(mu_) = 0;
  // Session -> number of the worker that claimed it last. Invariant: holders_[k] == i implies that
  // workers_ has i and workers_[i].hot contains k.
  absl::flat_hash_map<std::string, size_t> holders_ ABSL_GUARDED_BY(mu_);
};

}  // namespace lckv::gateway
