#include "services/gateway/worker_discovery.h"

#include <utility>

#include "absl/time/clock.h"
#include "base/log.h"
#include "base/status_macros.h"

namespace lckv::gateway {

absl::StatusOr<std::unique_ptr<WorkerDiscovery>> WorkerDiscovery::Start(
    const WorkerDiscoveryOptions& options, WorkerDirectory* directory,
    prometheus::Counter* failures) {
  absl::StatusOr<ListenAddress> service = ParseListenAddress(options.service);
  if (!service.ok()) return Annotate(service.status(), "worker service");
  return std::unique_ptr<WorkerDiscovery>(
      new WorkerDiscovery(options, *std::move(service), directory, failures));
}

WorkerDiscovery::WorkerDiscovery(const WorkerDiscoveryOptions& options, ListenAddress service,
                                 WorkerDirectory* directory, prometheus::Counter* failures)
    : options_(options),
      service_(std::move(service)),
      directory_(directory),
      failures_(failures),
      thread_([this] { Run(); }) {}

WorkerDiscovery::~WorkerDiscovery() {
  {
    MutexLock lock(mu_);
    stopping_ = true;
  }
  stop_.NotifyAll();
  thread_.join();
}

void WorkerDiscovery::Run() {
  do {
    LookUp();
  } while (Sleep());
}

void WorkerDiscovery::LookUp() {
  const absl::StatusOr<std::vector<std::string>> addresses = options_.resolver->Resolve(service_);
  if (addresses.ok()) {
    if (failing_) LogInfo("workers are looked up again", {{"service", options_.service}});
    failing_ = false;
    directory_->Follow(*addresses);
    return;
  }
  failures_->Increment();
  if (!failing_) {
    LogWarning("workers cannot be looked up",
               {{"service", options_.service}, {"status", addresses.status().ToString()}});
  }
  failing_ = true;
}

bool WorkerDiscovery::Sleep() {
  MutexLock lock(mu_);
  const absl::Time end = absl::Now() + options_.interval;
  while (!stopping_) {
    const absl::Duration left = end - absl::Now();
    if (left <= absl::ZeroDuration()) return true;
    stop_.WaitWithTimeout(mu_, left);
  }
  return false;
}

}  // namespace lckv::gateway
