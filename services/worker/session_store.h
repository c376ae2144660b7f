#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "services/worker/hot_session.h"
#include "services/worker/session_key.h"

namespace lckv::worker {

enum class SessionState { kRestoring, kIdle, kRunning, kEvicting };
inline constexpr int kSessionStates = 4;

// Learns which sessions are hot. Called in order, under the store's lock: must not block or call
// back.
class HotSessionListener {
 public:
  virtual ~HotSessionListener() = default;
  virtual void OnHot(const SessionKey& key) = 0;
  virtual void OnDropped(const SessionKey& key) = 0;
};

class SessionStore;

// The exclusive right to act on one session: one turn, restore or eviction at a time. Ending the
// claim makes a hot session idle and forgets one that is not. Move-only; must end before the store.
class SessionClaim {
 public:
  SessionClaim(SessionClaim&& other) noexcept;
  SessionClaim& operator=(SessionClaim&&) = delete;
  ~SessionClaim() { End(); }

  HotSession& session() const { return *session_; }
  const std::shared_ptr<HotSession>& shared_session() const { return session_; }
  // The session was hot when the claim began, or has become so.
  bool hot() const { return hot_; }

  void SetState(SessionState state);
  // Others that want the session may wait: the claim ends soon.
  void SetEnding();
  // The session is in the engine and its lease is held.
  void MarkHot();
  // It no longer is. The next claim starts with a new HotSession.
  void MarkDropped();
  void End();

 private:
  friend class SessionStore;
  SessionClaim(SessionStore* store, std::shared_ptr<HotSession> session, bool hot)
      : store_(store), session_(std::move(session)), hot_(hot) {}

  SessionStore* store_;  // null: ended
  std::shared_ptr<HotSession> session_;
  bool hot_;
};

// The worker's sessions and who acts on each. At most `capacity` of them. Thread-safe.
class SessionStore {
 public:
  struct Options {
    size_t capacity = 65536;
  };
  // `listener` may be null; all must outlive the store.
  SessionStore(const Options& options, Clock* clock, HotSessionListener* listener);
  ~SessionStore();  // REQUIRES: no claims.

  // Claims the session, hot or not; the claim begins as kRestoring. Waits until `deadline` while an
  // ending turn, a restore or an eviction holds it. ABORTED reason SESSION_BUSY while a turn runs;
  // RESOURCE_EXHAUSTED at the bound.
  absl::StatusOr<SessionClaim> Claim(const SessionKey& key, absl::Time deadline);
  // Claims a hot session that nobody acts on; nothing when it is not so.
  std::optional<SessionClaim> ClaimIdle(const SessionKey& key, SessionState state);
  // The session if it is hot, claimed or not.
  std::shared_ptr<HotSession> Find(const SessionKey& key) const;

  struct IdleSession {
    std::shared_ptr<HotSession> session;
    absl::Time last_use;
  };
  std::vector<IdleSession> Idle() const;
  std::vector<std::shared_ptr<HotSession>> Hot() const;
  std::vector<int64_t> CountByState() const;  // [kSessionStates]
  size_t size() const;

 private:
  friend class SessionClaim;
  struct Entry {
    std::shared_ptr<HotSession> session;
    SessionState state = SessionState::kRestoring;
    absl::Time last_use;
    bool claimed = false;
    bool ending = false;
    bool hot = false;
  };

  Entry& EntryOf(const HotSession& session) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  SessionClaim ClaimLocked(Entry& entry, SessionState state) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void EndClaim(const HotSession& session);

  const Options options_;
  Clock* const clock_;
  HotSessionListener* const listener_;
  mutable Mutex mu_;
  CondVar claim_ended_;
  absl::flat_hash_map<SessionKey, Entry> entries_ ABSL_GUARDED_BY(mu_);
};

}  // namespace lckv::worker
