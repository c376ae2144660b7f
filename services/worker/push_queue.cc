#include "services/worker/push_queue.h"

#include <utility>

#include "base/log.h"

namespace lckv::worker {

PushQueue::PushQueue(PagePush* push, int threads, size_t capacity)
    : push_(push), executor_(threads, capacity) {}

void PushQueue::Schedule(const std::shared_ptr<HotSession>& session, const TracePosition& trace) {
  {
    MutexLock lock(session->mu);
    if (session->dropped) return;
    if (trace.recording()) session->push_trace = trace;
    switch (session->push) {
      case HotSession::Push::kQueued:
      case HotSession::Push::kRunningAndAgain:
        return;
      case HotSession::Push::kRunning:
        session->push = HotSession::Push::kRunningAndAgain;
        return;
      case HotSession::Push::kNone:
        session->push = HotSession::Push::kQueued;
    }
  }
  if (executor_.TrySubmit([this, session] { Run(session); })) return;
  MutexLock lock(session->mu);
  session->push = HotSession::Push::kNone;
  session->unpushed = true;
}

void PushQueue::Run(const std::shared_ptr<HotSession>& session) {
  bool again = true;
  while (again) {
    TracePosition trace;
    {
      MutexLock lock(session->mu);
      session->push = HotSession::Push::kRunning;
      trace = std::exchange(session->push_trace, {});
    }
    const absl::Status status = push_->Push(*session, trace);
    // A push that a cut has overtaken is no failure.
    if (!status.ok() && !absl::IsFailedPrecondition(status)) {
      LogWarning("push failed",
                 {{"session", session->key.session_id}, {"error", status.ToString()}});
    }
    MutexLock lock(session->mu);
    // What failed without being asked for again waits for the idle scan.
    again = session->push == HotSession::Push::kRunningAndAgain;
    if (!again) session->push = HotSession::Push::kNone;
  }
}

}  // namespace lckv::worker
