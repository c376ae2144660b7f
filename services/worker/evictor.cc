#include "services/worker/evictor.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "base/log.h"
#include "base/status_macros.h"

namespace lckv::worker {

Evictor::Evictor(Engine* engine, SessionStore* store, CacheSync* sync, PagePush* push,
                 PushQueue* queue, Clock* clock, WorkerMetrics* metrics)
    : engine_(engine),
      store_(store),
      sync_(sync),
      push_(push),
      queue_(queue),
      clock_(clock),
      metrics_(metrics) {}

std::vector<EvictionCandidate> Evictor::Candidates() const {
  std::vector<EvictionCandidate> candidates;
  for (const SessionStore::IdleSession& idle : store_->Idle()) {
    EvictionCandidate candidate;
    candidate.key = idle.session->key;
    candidate.last_use = idle.last_use;
    MutexLock lock(idle.session->mu);
    candidate.pages = engine_->page_layout().PagesFor(idle.session->head.tokens_size());
    candidate.pushed = idle.session->FullyPushed();
    candidates.push_back(std::move(candidate));
  }
  return candidates;
}

int64_t Evictor::ScanIdle(absl::Duration idle_after) {
  EvictionGoal goal;
  goal.idle_after = idle_after;
  for (const SessionKey& key : PlanEviction(Candidates(), clock_->Now(), goal).evict) {
    EvictPushed(key, "idle");
  }
  // Pushes that failed or found no room are tried again here.
  int64_t unpushed = 0;
  for (const SessionStore::IdleSession& idle : store_->Idle()) {
    bool push = false;
    {
      MutexLock lock(idle.session->mu);
      push = !idle.session->uncertain && (idle.session->unpushed || idle.session->AheadOfStore());
      if (!idle.session->FullyPushed()) ++unpushed;
    }
    if (push) queue_->Schedule(idle.session);
  }
  return unpushed;
}

bool Evictor::MakeRoom(int64_t pages) {
  const EngineLoad load = engine_->load();
  EvictionGoal goal;
  goal.pages_needed = std::max<int64_t>(1, pages - (load.pages_capacity - load.pages_used));
  const EvictionPlan plan = PlanEviction(Candidates(), clock_->Now(), goal);
  bool evicted = false;
  for (const SessionKey& key : plan.evict) evicted |= EvictPushed(key, "pressure");
  for (const SessionKey& key : plan.push_first) evicted |= PushAndEvict(key);
  return evicted;
}

bool Evictor::EvictPushed(const SessionKey& key, absl::string_view reason) {
  std::optional<SessionClaim> claim = store_->ClaimIdle(key, SessionState::kEvicting);
  if (!claim.has_value()) return false;
  bool pushed = false;
  {
    MutexLock lock(claim->session().mu);
    pushed = claim->session().FullyPushed();
  }
  if (pushed) Drop(*claim, reason);
  return pushed;
}

bool Evictor::PushAndEvict(const SessionKey& key) {
  std::optional<SessionClaim> claim = store_->ClaimIdle(key, SessionState::kEvicting);
  if (!claim.has_value()) return false;
  HotSession& session = claim->session();
  const absl::Status status = push_->Push(session);
  if (!status.ok()) {
    LogWarning("push before eviction failed",
               {{"session", key.session_id}, {"error", status.ToString()}});
  }
  bool safe = false;
  {
    MutexLock lock(session.mu);
    // KV that was not pushed can be computed again; a turn that was not committed can not.
    safe = !session.AheadOfStore();
  }
  if (safe) Drop(*claim, "pressure");
  return safe;
}

absl::Status Evictor::Offload(const SessionKey& key, absl::string_view reason,
                              absl::Time deadline) {
  LCKV_ASSIGN_OR_RETURN(SessionClaim claim, store_->Claim(key, deadline));
  if (!claim.hot()) return absl::OkStatus();
  claim.SetState(SessionState::kEvicting);
  HotSession& session = claim.session();
  absl::Status status = sync_->EnsureLease(session, deadline);
  if (status.ok()) status = push_->Push(session);
  // ABORTED: another worker has the session; it is not this one's to push any more.
  if (!status.ok() && !absl::IsAborted(status)) return status;
  Drop(claim, reason);
  return absl::OkStatus();
}

void Evictor::Drop(SessionClaim& claim, absl::string_view reason) {
  const std::shared_ptr<HotSession> session = claim.shared_session();
  {
    MutexLock commit(session->commit_mu);
    const absl::Status closed = engine_->CloseSession(session->engine_name);
    if (!closed.ok() && !absl::IsNotFound(closed)) {
      LogError("session not closed",
               {{"session", session->key.session_id}, {"error", closed.ToString()}});
    }
    claim.MarkDropped();
  }
  sync_->ReleaseLease(*session);
  metrics_->OnEviction(reason);
}

}  // namespace lckv::worker
