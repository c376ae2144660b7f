#pragma once

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace lckv {

// The time seam: what decides by time takes a Clock, so that tests turn the hands themselves.
// Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual absl::Time Now() = 0;

  // The machine's clock; lives as long as the process.
  static Clock* Real();
};

}  // namespace lckv
