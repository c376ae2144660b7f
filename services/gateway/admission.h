#pragma once

#include <utility>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/mutex.h"

namespace lckv::gateway {

// Counts the turns in progress: at most `max_turns`, and none any more once closed. Nobody waits to
// get in. Thread-safe; outlives its slots.
class Admission {
 public:
  // The right to run one turn; given back when destroyed. Movable.
  class Slot {
   public:
    Slot(Slot&& other) noexcept : owner_(std::exchange(other.owner_, nullptr)) {}
    Slot& operator=(Slot&&) = delete;
    ~Slot() {
      if (owner_ != nullptr) owner_->Leave();
    }

   private:
    friend class Admission;
    explicit Slot(Admission* owner) : owner_(owner) {}
    Admission* owner_;
  };

  // REQUIRES: max_turns > 0.
  explicit Admission(int max_turns);
  // Aborts when a slot is still out.
  ~Admission();
  Admission(const Admission&) = delete;
  Admission& operator=(const Admission&) = delete;

  // RESOURCE_EXHAUSTED (QUEUE_FULL) when all slots are taken, UNAVAILABLE (DRAINING) when closed;
  // both say when to come back.
  absl::StatusOr<Slot> TryEnter();
  // Lets nobody in any more. Turns that are in go on.
  void Close();
  // Waits until no turn is in; false when some still are at `deadline`.
  bool WaitIdle(absl::Time deadline);

  int turns() const;

 private:
  void Leave();

  const int max_turns_;
  mutable Mutex mu_;
  CondVar idle_;
  int turns_ ABSL_GUARDED_BY(mu_) = 0;
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace lckv::gateway
