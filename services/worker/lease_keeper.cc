#include "services/worker/lease_keeper.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "base/log.h"

namespace lckv::worker {

LeaseKeeper::LeaseKeeper(SessionStore* store, CacheSync* sync, Evictor* evictor,
                         const Options& options, Clock* clock)
    : store_(store), sync_(sync), evictor_(evictor), options_(options), clock_(clock) {}

void LeaseKeeper::RenewDue() {
  const absl::Time due = clock_->Now() - sync_->options().lease_ttl / 3;
  std::vector<std::pair<absl::Time, std::shared_ptr<HotSession>>> sessions;
  for (std::shared_ptr<HotSession>& session : store_->Hot()) {
    absl::Time confirmed;
    {
      MutexLock lock(session->mu);
      confirmed = session->lease_confirmed;
    }
    if (confirmed <= due) sessions.emplace_back(confirmed, std::move(session));
  }
  std::sort(sessions.begin(), sessions.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  if (sessions.size() > options_.batch) sessions.resize(options_.batch);
  for (const auto& [confirmed, session] : sessions) {
    const absl::Status status = sync_->Renew(*session, absl::Now() + sync_->options().call_timeout);
    // The others would only wait for the same node.
    if (IsUnreachable(status)) return;
    if (!status.ok()) RecoverOrDrop(session->key);
  }
}

void LeaseKeeper::RecoverOrDrop(const SessionKey& key) {
  std::optional<SessionClaim> claim = store_->ClaimIdle(key, SessionState::kEvicting);
  if (!claim.has_value()) return;
  const absl::Status status =
      sync_->EnsureLease(claim->session(), absl::Now() + sync_->options().call_timeout);
  if (status.ok() || IsUnreachable(status)) return;
  LogInfo("session lost to another worker",
          {{"session", key.session_id}, {"error", status.ToString()}});
  evictor_->Drop(*claim, "lost");
}

}  // namespace lckv::worker
