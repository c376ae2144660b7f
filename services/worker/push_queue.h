#pragma once

#include <cstddef>
#include <memory>

#include "services/common/executor.h"
#include "services/common/tracing/span.h"
#include "services/worker/hot_session.h"
#include "services/worker/page_push.h"

namespace lckv::worker {

// Pushes sessions in the background. A session is queued once however often it is scheduled, and
// pushed by one thread at a time; one that is scheduled while it is being pushed is pushed again.
// Thread-safe.
class PushQueue {
 public:
  // `capacity`: sessions that may wait; beyond, Schedule does nothing (the session stays
  // `unpushed`, and the idle scan schedules it again). `push` must outlive it.
  PushQueue(PagePush* push, int threads, size_t capacity);
  ~PushQueue() { Stop(); }

  // `trace`: the turn on whose behalf; by default none, and the last that was given stays.
  void Schedule(const std::shared_ptr<HotSession>& session, const TracePosition& trace = {});
  // Finishes what waits, takes nothing more.
  void Stop() { executor_.Shutdown(); }

 private:
  void Run(const std::shared_ptr<HotSession>& session);

  PagePush* const push_;
  Executor executor_;
};

}  // namespace lckv::worker
