#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace lckv::gateway {

enum class WorkerState {
  kDead,      // its load stream is broken, or was never there
  kSuspect,   // connected, but silent for too long: stopped, hung or cut off
  kStarting,  // says that it is not ready yet
  kReady,
  kDraining,  // finishes what it has, takes nothing new
};
inline constexpr int kWorkerStates = 5;
absl::string_view WorkerStateName(WorkerState state);

// What the router knows of one worker.
struct WorkerView {
  std::string id;
  WorkerState state = WorkerState::kDead;
  uint32_t turns = 0;       // running and waiting, with those sent there since its last report
  bool queue_full = false;  // takes no more turns at the moment
};

// Where one session could go.
struct Placement {
  std::vector<WorkerView> workers;
  std::string holder;  // the worker in which the session is hot; empty: none known
};

struct Route {
  std::string worker;
  bool takeover = false;  // the holder is draining or silent: its lease may be taken
};

// Chooses a worker for a session's turn. A pure function, so that every gateway decides alike:
//  1. the holder, when it is ready;
//  2. else, among the ready workers whose queue is not full, the one with the fewest turns; ties
//  are
//     broken by rendezvous hashing of the session id, so that a session tends to come back.
// Workers in `excluded` are left out. UNAVAILABLE (NO_WORKER) when no worker is ready;
// RESOURCE_EXHAUSTED (QUEUE_FULL) when the holder's queue, or that of every ready worker, is full.
// Both say when to come back.
absl::StatusOr<Route> ChooseWorker(absl::string_view session_id, const Placement& placement,
                                   const std::vector<std::string>& excluded = {});

}  // namespace lckv::gateway
