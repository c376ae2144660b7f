#include "services/worker/session_store.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/error_info.h"

namespace lckv::worker {
namespace {

// How often a waiting claim looks at its deadline, at least.
constexpr absl::Duration kWaitSlice = absl::Milliseconds(50);
constexpr absl::Duration kRetryAfter = absl::Seconds(1);

absl::Status BusyError(const SessionKey& key) {
  return WithErrorInfo(
      absl::AbortedError(absl::StrCat("session ", key.session_id, " is busy with another turn")),
      {kReasonSessionBusy, {}});
}

}  // namespace

SessionClaim::SessionClaim(SessionClaim&& other) noexcept
    : store_(std::exchange(other.store_, nullptr)),
      session_(std::move(other.session_)),
      hot_(other.hot_) {}

void SessionClaim::SetState(SessionState state) {
  LCKV_CHECK(store_ != nullptr);
  MutexLock lock(store_->mu_);
  store_->EntryOf(*session_).state = state;
}

void SessionClaim::SetEnding() {
  LCKV_CHECK(store_ != nullptr);
  MutexLock lock(store_->mu_);
  store_->EntryOf(*session_).ending = true;
}

void SessionClaim::MarkHot() {
  LCKV_CHECK(store_ != nullptr);
  MutexLock lock(store_->mu_);
  SessionStore::Entry& entry = store_->EntryOf(*session_);
  if (!entry.hot && store_->listener_ != nullptr) store_->listener_->OnHot(session_->key);
  entry.hot = true;
  hot_ = true;
}

void SessionClaim::MarkDropped() {
  LCKV_CHECK(store_ != nullptr);
  {
    MutexLock lock(session_->mu);
    session_->dropped = true;
  }
  auto fresh = std::make_shared<HotSession>(session_->key);
  MutexLock lock(store_->mu_);
  SessionStore::Entry& entry = store_->EntryOf(*session_);
  if (entry.hot && store_->listener_ != nullptr) store_->listener_->OnDropped(session_->key);
  entry.hot = false;
  hot_ = false;
  entry.session = fresh;
  session_ = std::move(fresh);
}

void SessionClaim::End() {
  if (store_ == nullptr) return;
  std::exchange(store_, nullptr)->EndClaim(*session_);
}

SessionStore::SessionStore(const Options& options, Clock* clock, HotSessionListener* listener)
    : options_(options), clock_(clock), listener_(listener) {}

SessionStore::~SessionStore() {
  MutexLock lock(mu_);
  for (const auto& [key, entry] : entries_) LCKV_CHECK(!entry.claimed);
}

absl::StatusOr<SessionClaim> SessionStore::Claim(const SessionKey& key, absl::Time deadline) {
  MutexLock lock(mu_);
  for (;;) {
    auto found = entries_.find(key);
    if (found == entries_.end()) {
      if (entries_.size() >= options_.capacity) {
        return WithRetryAfter(WithErrorInfo(absl::ResourceExhaustedError(absl::StrCat(
                                                "the worker holds ", entries_.size(), " sessions")),
                                            {kReasonPoolFull, {}}),
                              kRetryAfter);
      }
      Entry entry;
      entry.session = std::make_shared<HotSession>(key);
      found = entries_.emplace(key, std::move(entry)).first;
    }
    Entry& entry = found->second;
    if (!entry.claimed) return ClaimLocked(entry, SessionState::kRestoring);
    const absl::Duration left = deadline - clock_->Now();
    if ((entry.state == SessionState::kRunning && !entry.ending) || left <= absl::ZeroDuration()) {
      return BusyError(key);
    }
    claim_ended_.WaitWithTimeout(mu_, std::min(left, kWaitSlice));
  }
}

std::optional<SessionClaim> SessionStore::ClaimIdle(const SessionKey& key, SessionState state) {
  MutexLock lock(mu_);
  const auto found = entries_.find(key);
  if (found == entries_.end() || found->second.claimed || !found->second.hot) return std::nullopt;
  return ClaimLocked(found->second, state);
}

std::shared_ptr<HotSession> SessionStore::Find(const SessionKey& key) const {
  MutexLock lock(mu_);
  const auto found = entries_.find(key);
  if (found == entries_.end() || !found->second.hot) return nullptr;
  return found->second.session;
}

std::vector<SessionStore::IdleSession> SessionStore::Idle() const {
  MutexLock lock(mu_);
  std::vector<IdleSession> idle;
  for (const auto& [key, entry] : entries_) {
    if (!entry.claimed && entry.hot) idle.push_back({entry.session, entry.last_use});
  }
  return idle;
}

std::vector<std::shared_ptr<HotSession>> SessionStore::Hot() const {
  MutexLock lock(mu_);
  std::vector<std::shared_ptr<HotSession>> hot;
  for (const auto& [key, entry] : entries_) {
    if (entry.hot) hot.push_back(entry.session);
  }
  return hot;
}

std::vector<int64_t> SessionStore::CountByState() const {
  MutexLock lock(mu_);
  std::vector<int64_t> counts(kSessionStates, 0);
  for (const auto& [key, entry] : entries_) ++counts[static_cast<size_t>(entry.state)];
  return counts;
}

size_t SessionStore::size() const {
  MutexLock lock(mu_);
  return entries_.size();
}

SessionStore::Entry& SessionStore::EntryOf(const HotSession& session) {
  const auto found = entries_.find(session.key);
  LCKV_CHECK(found != entries_.end() && found->second.claimed);
  return found->second;
}

SessionClaim SessionStore::ClaimLocked(Entry& entry, SessionState state) {
  entry.claimed = true;
  entry.ending = false;
  entry.state = state;
  return SessionClaim(this, entry.session, entry.hot);
}

void SessionStore::EndClaim(const HotSession& session) {
  {
    MutexLock lock(mu_);
    Entry& entry = EntryOf(session);
    if (entry.hot) {
      // An eviction that was given up is no use of the session.
      if (entry.state != SessionState::kEvicting) entry.last_use = clock_->Now();
      entry.claimed = false;
      entry.ending = false;
      entry.state = SessionState::kIdle;
    } else {
      entries_.erase(session.key);
    }
  }
  claim_ended_.NotifyAll();
}

}  // namespace lckv::worker
