#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace lckv::gateway {

struct KnownWorker {
  size_t number = 0;  // in the table
  std::string address;
  bool fixed = false;      // named by a flag: stays
  bool connected = false;  // its load reports come
};

struct WorkerChanges {
  std::vector<std::string> add;  // addresses, in the order of `resolved`
  std::vector<size_t> remove;    // numbers
  size_t left_out = 0;           // addresses over the limit
};

// What a look-up changes: addresses that are not known are added; workers that are no longer named
// are removed only when they are not connected either, so that a look-up with a gap in it, or a
// worker that is finishing its last turns, costs no turn. At most `limit` workers are known
// afterwards, unless there were more before. A pure function.
WorkerChanges DecideWorkerChanges(const std::vector<KnownWorker>& known,
                                  const std::vector<std::string>& resolved, size_t limit);

}  // namespace lckv::gateway
