#pragma once

#include <prometheus/counter.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "services/common/listen_address.h"
#include "services/gateway/host_resolver.h"
#include "services/gateway/worker_directory.h"

namespace lckv::gateway {

struct WorkerDiscoveryOptions {
  std::string service;  // host:port; every address of the host is a worker's. Empty: no discovery
  absl::Duration interval = absl::Seconds(5);
  HostResolver* resolver = HostResolver::System();
};

// Looks a name up again and again, on a thread of its own, and has a directory follow it. A look-up
// that fails changes nothing: it is counted, and logged when it is the first of a row.
class WorkerDiscovery {
 public:
  // INVALID_ARGUMENT: the service is no host:port. `directory` and `failures` outlive the result.
  static absl::StatusOr<std::unique_ptr<WorkerDiscovery>> Start(
      const WorkerDiscoveryOptions& options, WorkerDirectory* directory,
      prometheus::Counter* failures);
  // Waits for a look-up in progress: with a DNS server that is silent, some seconds.
  ~WorkerDiscovery();
  WorkerDiscovery(const WorkerDiscovery&) = delete;
  WorkerDiscovery& operator=(const WorkerDiscovery&) = delete;

 private:
  WorkerDiscovery(const WorkerDiscoveryOptions& options, ListenAddress service,
                  WorkerDirectory* directory, prometheus::Counter* failures);
  void Run();
  void LookUp();
  // False when it is time to stop.
  bool Sleep();

  const WorkerDiscoveryOptions options_;
  const ListenAddress service_;
  WorkerDirectory* const directory_;
  prometheus::Counter* const failures_;
  bool failing_ = false;  // of the thread alone
  Mutex mu_;
  CondVar stop_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;
};

}  // namespace lckv::gateway
