#include "services/worker/load_board.h"

#include <utility>

#include "absl/container/flat_hash_map.h"

namespace lckv::worker {
namespace {

void SetKey(const SessionKey& key, v1::SessionKey* out) {
  out->set_tenant(key.tenant);
  out->set_session_id(key.session_id);
}

}  // namespace

void LoadBoard::OnHot(const SessionKey& key) {
  MutexLock lock(mu_);
  if (hot_.insert(key).second) Record(key, true);
}

void LoadBoard::OnDropped(const SessionKey& key) {
  MutexLock lock(mu_);
  if (hot_.erase(key) > 0) Record(key, false);
}

void LoadBoard::Record(const SessionKey& key, bool hot) {
  changes_.push_back({key, hot});
  if (changes_.size() > kMaxChanges) {
    changes_.pop_front();
    ++first_change_;
  }
}

void LoadBoard::SetState(v1::LoadReport::State state) {
  MutexLock lock(mu_);
  state_ = state;
}

v1::LoadReport::State LoadBoard::state() const {
  MutexLock lock(mu_);
  return state_;
}

void LoadBoard::Fill(Cursor* cursor, v1::LoadReport* report) const {
  MutexLock lock(mu_);
  report->set_state(state_);
  const uint64_t end = first_change_ + changes_.size();
  if (!cursor->started || cursor->next_change < first_change_) {
    report->set_full_list(true);
    for (const SessionKey& key : hot_) SetKey(key, report->add_hot_sessions());
  } else {
    // The last change of a session is what counts.
    absl::flat_hash_map<SessionKey, bool> latest;
    for (uint64_t i = cursor->next_change; i < end; ++i) {
      const Change& change = changes_[static_cast<size_t>(i - first_change_)];
      latest[change.key] = change.hot;
    }
    for (const auto& [key, hot] : latest) {
      SetKey(key, hot ? report->add_hot_sessions() : report->add_dropped_sessions());
    }
  }
  cursor->started = true;
  cursor->next_change = end;
}

}  // namespace lckv::worker
