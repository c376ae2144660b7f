#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>

#include "absl/time/time.h"
#include "base/mutex.h"
#include "services/worker/load_board.h"
#include "services/worker/turn_desk.h"
#include "services/worker/worker_core.h"

namespace lckv::worker {

// Empties the worker: no new turns, running ones finish or move, every session is committed, pushed
// and given back. Thread-safe.
class Drainer {
 public:
  struct Options {
    absl::Duration turn_grace = absl::Seconds(15);     // for running turns to finish by themselves
    absl::Duration handover_time = absl::Seconds(10);  // then, to hand everything over
  };
  // `on_state` is called when the board's state has changed. All must outlive it.
  Drainer(WorkerCore* core, TurnDesk* desk, LoadBoard* board, WorkerMetrics* metrics,
          const Options& options, std::function<void()> on_state);
  ~Drainer();

  // Begins to drain on a thread of its own; only the first call acts.
  void Start();
  // Waits until the drain is done. False: `deadline` came first.
  bool Wait(absl::Time deadline);

  struct Progress {
    int running_turns = 0;
    int64_t sessions_left = 0;
    bool done = false;
  };
  Progress progress() const;

 private:
  void Main();
  void OffloadAll(absl::Time deadline);

  WorkerCore* const core_;
  TurnDesk* const desk_;
  LoadBoard* const board_;
  WorkerMetrics* const metrics_;
  const Options options_;
  const std::function<void()> on_state_;
  mutable Mutex mu_;
  CondVar finished_;
  bool started_ ABSL_GUARDED_BY(mu_) = false;
  bool done_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;  // set once by Start
};

}  // namespace lckv::worker
