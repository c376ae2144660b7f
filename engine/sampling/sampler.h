#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "engine/sampling/sampling_options.h"

namespace lckv {

// Chooses the token at `position` from its logits [vocab]: a function of (logits, options,
// position), the same on every backend and machine.
//
//   greedy (temperature not above 0, or a largest logit that is not finite): the largest logit, the
//   lowest id among equals.
//   else: order tokens by (logit descending, id ascending); keep the first top_k. A token weighs
//     w = 2^40 exp((logit - largest) / temperature), rounded to an integer (sampling_math.h), so
//     that sums are exact. Keep the shortest beginning with a sum >= ceil(top_p * sum of all), one
//     token at least; drop those with w < min_p * 2^40 (never the largest). Of what is left, take
//     the first token whose running sum along the order is above floor(u * sum), u the position's
//     uniform number (philox.h).
//
// What is less likely than the first token by a factor of 2^41 weighs nothing and is never chosen.
// NaN logits count as minus infinity. Holds scratch only: the object may be reused, one thread at a
// time. REQUIRES: 1 to kMaxSampledVocabulary logits.
class Sampler {
 public:
  int32_t Sample(absl::Span<const float> logits, const SamplingOptions& options, uint64_t position);

 private:
  // Makes the candidates up to `count` the first ones, in order.
  void SortUpTo(size_t count);
  // Order (sampling_math.h) and id of the i-th, sorting on as needed.
  uint64_t Candidate(size_t i);

  std::vector<uint64_t> candidates_;  // order << 32 | id
  size_t sorted_ = 0;
};

}  // namespace lckv
