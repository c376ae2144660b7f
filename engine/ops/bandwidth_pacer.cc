#include "engine/ops/bandwidth_pacer.h"

#include <algorithm>

namespace lckv {

absl::Time BandwidthPacer::Start(absl::Time now, int64_t bytes) {
  if (bytes_per_second_ <= 0) return now;
  const absl::Time start = std::max(now, next_);
  next_ =
      start + absl::Seconds(static_cast<double>(bytes) / static_cast<double>(bytes_per_second_));
  return start;
}

}  // namespace lckv
