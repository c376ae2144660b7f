#pragma once

#include <cstdint>

#include "absl/time/time.h"

namespace lckv {

// Says when transfers may start so that they stay below a bandwidth: each starts when the one
// before it would have ended at that bandwidth. Nothing is saved up while idle. Pure: the caller
// tells the time and waits. Not thread-safe.
class BandwidthPacer {
 public:
  explicit BandwidthPacer(int64_t bytes_per_second)  // <= 0: no limit
      : bytes_per_second_(bytes_per_second) {}

  // Sets the transfer of `bytes` after those before it; returns its start, `now` at the earliest.
  absl::Time Start(absl::Time now, int64_t bytes);

 private:
  const int64_t bytes_per_second_;
  absl::Time next_ = absl::InfinitePast();
};

}  // namespace lckv
