#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>

#include "absl/container/flat_hash_set.h"
#include "base/mutex.h"
#include "lckv/v1/worker.pb.h"
#include "services/worker/session_key.h"
#include "services/worker/session_store.h"

namespace lckv::worker {

// What the worker reports about itself: its state and which sessions are hot. Keeps the latest
// changes, so that each reader gets only what is new to it. Thread-safe.
class LoadBoard : public HotSessionListener {
 public:
  // Changes that are remembered; a reader that missed more gets the whole list.
  static constexpr size_t kMaxChanges = 4096;

  void OnHot(const SessionKey& key) override;
  void OnDropped(const SessionKey& key) override;

  void SetState(v1::LoadReport::State state);
  v1::LoadReport::State state() const;

  // Where a reader is. A new one has seen nothing.
  struct Cursor {
    bool started = false;
    uint64_t next_change = 0;
  };
  // Fills state and sessions for a reader and moves its cursor on.
  void Fill(Cursor* cursor, v1::LoadReport* report) const;

 private:
  struct Change {
    SessionKey key;
    bool hot;
  };
  void Record(const SessionKey& key, bool hot) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  mutable Mutex mu_;
  v1::LoadReport::State state_ ABSL_GUARDED_BY(mu_) = v1::LoadReport::STARTING;
  absl::flat_hash_set<SessionKey> hot_ ABSL_GUARDED_BY(mu_);
  std::deque<Change> changes_ ABSL_GUARDED_BY(mu_);
  uint64_t first_change_ ABSL_GUARDED_BY(mu_) = 0;  // number of changes_.front()
};

}  // namespace lckv::worker
