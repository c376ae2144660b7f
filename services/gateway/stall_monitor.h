#pragma once

#include <memory>
#include <vector>

#include "absl/time/time.h"
#include "base/mutex.h"
#include "services/gateway/worker_stream.h"
#include "services/gateway/worker_table.h"

namespace lckv::gateway {

// Cuts off streams that wait for a worker which stopped without closing its connection (SIGSTOP, a
// lost network): no frame for `stall_timeout`, and no load reports either. A slow worker that still
// reports is left alone. Holds one weak reference per stream in progress. Thread-safe.
class StallMonitor {
 public:
  // `table` must outlive the monitor.
  StallMonitor(const WorkerTable* table, absl::Duration stall_timeout)
      : table_(table), stall_timeout_(stall_timeout) {}

  void Watch(const std::shared_ptr<WorkerStream>& stream);
  // One look at all streams; to be called a few times per stall timeout. `now`: of the streams'
  // clock.
  void Tick(absl::Time now);

 private:
  const WorkerTable* const table_;
  const absl::Duration stall_timeout_;
  Mutex mu_;
  std::vector<std::weak_ptr<WorkerStream>> streams_ ABSL_GUARDED_BY(mu_);
};

}  // namespace lckv::gateway
