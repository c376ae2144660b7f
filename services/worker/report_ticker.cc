#include "services/worker/report_ticker.h"

#include "absl/time/clock.h"

namespace lckv::worker {

ReportTicker::ReportTicker(absl::Duration interval) : periodic_(interval, [this] { Tick(); }) {}

bool ReportTicker::Add(TickedStream* stream) {
  MutexLock lock(mu_);
  if (stopped_ || streams_.size() >= kMaxStreams) return false;
  if (stream->OnTick(absl::Now(), /*last=*/false)) streams_.push_back(stream);
  return true;
}

void ReportTicker::Tick() {
  const absl::Time now = absl::Now();
  MutexLock lock(mu_);
  streams_.remove_if([now](TickedStream* stream) { return !stream->OnTick(now, /*last=*/false); });
}

void ReportTicker::Stop() {
  periodic_.Stop();
  const absl::Time now = absl::Now();
  MutexLock lock(mu_);
  stopped_ = true;
  for (TickedStream* stream : streams_) stream->OnTick(now, /*last=*/true);
  streams_.clear();
}

}  // namespace lckv::worker
