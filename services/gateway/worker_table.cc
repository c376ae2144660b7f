#include "services/gateway/worker_table.h"

#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace lckv::gateway {
namespace {

// Unambiguous: neither part contains a zero byte (tenants are ours, session ids are validated).
std::string Key(absl::string_view tenant, absl::string_view session_id) {
  return absl::StrCat(tenant, absl::string_view("\0", 1), session_id);
}

}  // namespace

WorkerTable::WorkerTable(size_t workers, absl::Duration suspect_after, Clock* clock)
    : suspect_after_(suspect_after), clock_(clock) {
  for (size_t i = 0; i < workers; ++i) Add();
}

size_t WorkerTable::Add() {
  MutexLock lock(mu_);
  workers_.try_emplace(next_);
  return next_++;
}

void WorkerTable::Remove(size_t index) {
  MutexLock lock(mu_);
  ClearHotLocked(index);
  workers_.erase(index);
}

void WorkerTable::Apply(size_t index, const v1::LoadReport& report) {
  MutexLock lock(mu_);
  Worker& worker = WorkerLocked(index);
  if (report.full_list() || report.worker_id() != worker.report.worker_id()) ClearHotLocked(index);
  for (const v1::SessionKey& key : report.dropped_sessions()) {
    DropHotLocked(index, Key(key.tenant(), key.session_id()));
  }
  for (const v1::SessionKey& key : report.hot_sessions()) AddHotLocked(index, key);
  worker.report = report;
  worker.report.clear_hot_sessions();
  worker.report.clear_dropped_sessions();
  worker.connected = true;
  worker.last_report = clock_->Now();
  worker.assigned = 0;
}

void WorkerTable::MarkBroken(size_t index) {
  MutexLock lock(mu_);
  ClearHotLocked(index);
  WorkerLocked(index).connected = false;
}

void WorkerTable::NoteAssigned(absl::string_view worker_id) {
  MutexLock lock(mu_);
  if (const auto index = IndexLocked(worker_id)) ++WorkerLocked(*index).assigned;
}

Placement WorkerTable::PlacementOf(absl::string_view tenant, absl::string_view session_id) const {
  MutexLock lock(mu_);
  Placement placement;
  placement.holder = HolderLocked(Key(tenant, session_id));
  placement.workers.reserve(workers_.size());
  for (const auto& [index, worker] : workers_) {
    const v1::LoadReport& report = worker.report;
    WorkerView& view = placement.workers.emplace_back();
    view.id = report.worker_id();
    view.state = StateLocked(worker);
    view.turns = report.running_turns() + report.waiting_turns() + worker.assigned;
    // Without a stated limit a worker refuses for itself.
    view.queue_full =
        report.max_waiting_turns() > 0 && report.waiting_turns() >= report.max_waiting_turns();
  }
  return placement;
}

std::string WorkerTable::HolderOf(absl::string_view tenant, absl::string_view session_id) const {
  MutexLock lock(mu_);
  return HolderLocked(Key(tenant, session_id));
}

WorkerState WorkerTable::StateOf(absl::string_view worker_id) const {
  MutexLock lock(mu_);
  const auto index = IndexLocked(worker_id);
  return index.has_value() ? StateLocked(workers_.at(*index)) : WorkerState::kDead;
}

std::optional<size_t> WorkerTable::IndexOf(absl::string_view worker_id) const {
  MutexLock lock(mu_);
  return IndexLocked(worker_id);
}

std::array<int, kWorkerStates> WorkerTable::CountByState() const {
  MutexLock lock(mu_);
  std::array<int, kWorkerStates> counts{};
  for (const auto& [index, worker] : workers_) ++counts[static_cast<size_t>(StateLocked(worker))];
  return counts;
}

WorkerTable::Worker& WorkerTable::WorkerLocked(size_t index) {
  const auto found = workers_.find(index);
  LCKV_CHECK(found != workers_.end());
  return found->second;
}

WorkerState WorkerTable::StateLocked(const Worker& worker) const {
  if (!worker.connected) return WorkerState::kDead;
  if (clock_->Now() - worker.last_report > suspect_after_) return WorkerState::kSuspect;
  switch (worker.report.state()) {
    case v1::LoadReport::READY:
      return WorkerState::kReady;
    case v1::LoadReport::DRAINING:
      return WorkerState::kDraining;
    default:
      return WorkerState::kStarting;
  }
}

// A worker that came back under another address has two entries: the connected one counts.
std::optional<size_t> WorkerTable::IndexLocked(absl::string_view worker_id) const {
  std::optional<size_t> found;
  if (worker_id.empty()) return found;
  for (const auto& [index, worker] : workers_) {
    if (worker.report.worker_id() != worker_id) continue;
    if (worker.connected) return index;
    found = index;
  }
  return found;
}

void WorkerTable::AddHotLocked(size_t index, const v1::SessionKey& session) {
  Worker& worker = WorkerLocked(index);
  if (worker.hot.size() >= kMaxHotSessions) return;
  const std::string key = Key(session.tenant(), session.session_id());
  worker.hot.insert(key);
  holders_[key] = index;
}

void WorkerTable::DropHotLocked(size_t index, const std::string& key) {
  WorkerLocked(index).hot.erase(key);
  const auto holder = holders_.find(key);
  if (holder != holders_.end() && holder->second == index) holders_.erase(holder);
}

void WorkerTable::ClearHotLocked(size_t index) {
  Worker& worker = WorkerLocked(index);
  for (const std::string& key : worker.hot) {
    const auto holder = holders_.find(key);
    if (holder != holders_.end() && holder->second == index) holders_.erase(holder);
  }
  worker.hot.clear();
}

std::string WorkerTable::HolderLocked(const std::string& key) const {
  const auto holder = holders_.find(key);
  return holder == holders_.end() ? std::string() : workers_.at(holder->second).report.worker_id();
}

}  // namespace lckv::gateway
