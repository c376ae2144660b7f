#include "services/gateway/worker_changes.h"

#include "absl/container/flat_hash_set.h"
#include "absl/strings/string_view.h"

namespace lckv::gateway {

WorkerChanges DecideWorkerChanges(const std::vector<KnownWorker>& known,
                                  const std::vector<std::string>& resolved, size_t limit) {
  const absl::flat_hash_set<absl::string_view> named(resolved.begin(), resolved.end());
  WorkerChanges changes;
  absl::flat_hash_set<absl::string_view> addresses;
  size_t count = 0;
  for (const KnownWorker& worker : known) {
    if (!worker.fixed && !worker.connected && !named.contains(worker.address)) {
      changes.remove.push_back(worker.number);
    } else {
      addresses.insert(worker.address);
      ++count;
    }
  }
  for (const std::string& address : resolved) {
    if (!addresses.insert(address).second) continue;
    if (count >= limit) {
      ++changes.left_out;
    } else {
      changes.add.push_back(address);
      ++count;
    }
  }
  return changes;
}

}  // namespace lckv::gateway
