#pragma once

#include <list>

#include "absl/time/time.h"
#include "base/mutex.h"
#include "services/worker/periodic.h"

namespace lckv::worker {

// A stream of reports that somebody has to write now and then. Owns itself.
class TickedStream {
 public:
  virtual ~TickedStream() = default;
  // Writes what is due; `last`: there will be no other call. Must not block. False: the stream has
  // ended and is not touched any more. REQUIRES for `last`: ends the stream.
  virtual bool OnTick(absl::Time now, bool last) = 0;
};

// The one thread behind all report streams of the worker. Thread-safe.
class ReportTicker {
 public:
  static constexpr size_t kMaxStreams = 256;

  explicit ReportTicker(absl::Duration interval);
  ~ReportTicker() { Stop(); }

  // Ticks the stream at once and from then on. False, and the stream untouched: too many, or
  // stopped.
  bool Add(TickedStream* stream);
  // Ticks all streams now.
  void Tick();
  // Ends all streams. Safe to repeat.
  void Stop();

 private:
  Mutex mu_;
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
  std::list<TickedStream*> streams_ ABSL_GUARDED_BY(mu_);
  Periodic periodic_;  // last: its thread uses the above
};

}  // namespace lckv::worker
