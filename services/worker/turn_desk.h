#pragma once

#include <cstddef>
#include <functional>
#include <list>
#include <memory>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "services/common/executor.h"
#include "services/worker/turn_control.h"

namespace lckv::worker {

// Admits turns and runs each on a thread of its own pool, since turns block. At most `max_running`
// at a time; `max_waiting` more wait. Thread-safe.
class TurnDesk {
 public:
  TurnDesk(int max_running, size_t max_waiting);
  ~TurnDesk();  // As Shutdown.

  // Runs `turn` later, on another thread. RESOURCE_EXHAUSTED reason QUEUE_FULL; UNAVAILABLE reason
  // DRAINING after Close. `control` is asked to stop when the desk wants the turn to end.
  absl::Status Submit(std::shared_ptr<TurnControl> control, std::function<void()> turn);

  // No new turns; those that wait are asked to go elsewhere at once.
  void Close();
  // Asks every turn to go elsewhere.
  void StopAll();
  // Waits until no turn is left. False: `deadline` came first.
  bool WaitIdle(absl::Time deadline);
  // Close, StopAll, and waits without a limit.
  void Shutdown();

  int running() const;
  int waiting() const;
  size_t max_waiting() const { return max_waiting_; }

 private:
  struct Entry {
    std::shared_ptr<TurnControl> control;
    bool running = false;
  };

  void Run(std::list<Entry>::iterator entry, const std::function<void()>& turn);

  const size_t max_waiting_;
  mutable Mutex mu_;
  CondVar changed_;
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
  std::list<Entry> turns_ ABSL_GUARDED_BY(mu_);
  int running_ ABSL_GUARDED_BY(mu_) = 0;
  Executor executor_;  // last: its threads use the above
};

}  // namespace lckv::worker
