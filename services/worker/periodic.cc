#include "services/worker/periodic.h"

#include <utility>

#include "absl/time/clock.h"

namespace lckv::worker {

Periodic::Periodic(absl::Duration interval, std::function<void()> function)
    : thread_([this, interval, call = std::move(function)] { Main(interval, call); }) {}

void Periodic::Stop() {
  {
    MutexLock lock(mu_);
    stopping_ = true;
  }
  wake_.NotifyAll();
  if (thread_.joinable()) thread_.join();
}

void Periodic::Main(absl::Duration interval, const std::function<void()>& function) {
  absl::Time next = absl::Now() + interval;
  for (;;) {
    {
      MutexLock lock(mu_);
      while (!stopping_ && absl::Now() < next) wake_.WaitWithTimeout(mu_, next - absl::Now());
      if (stopping_) return;
    }
    function();
    next = absl::Now() + interval;
  }
}

}  // namespace lckv::worker
