#pragma once

#include <cstddef>

#include "absl/time/time.h"
#include "base/clock.h"
#include "services/worker/cache_sync.h"
#include "services/worker/evictor.h"
#include "services/worker/session_store.h"

namespace lckv::worker {

// Keeps the leases of hot sessions alive. Thread-safe; blocks on the network.
class LeaseKeeper {
 public:
  struct Options {
    size_t batch = 256;  // renewals of one call at most; the oldest first
  };
  // All must outlive it.
  LeaseKeeper(SessionStore* store, CacheSync* sync, Evictor* evictor, const Options& options,
              Clock* clock);

  // Renews leases older than a third of their life; call more often than that. A lease that is lost
  // is taken again if nobody changed the session (a restarted cache node forgets leases); otherwise
  // an idle session is dropped, and a running turn learns of it at its commit.
  void RenewDue();

 private:
  void RecoverOrDrop(const SessionKey& key);

  SessionStore* const store_;
  CacheSync* const sync_;
  Evictor* const evictor_;
  const Options options_;
  Clock* const clock_;
};

}  // namespace lckv::worker
