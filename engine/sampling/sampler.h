#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "engine/sampling/sampling_options.h"

namespace lckv {

// Chooses the token at `position` from its logits [vocab]: a function of (logits, options,
// position), nothing else.
//
//   greedy (temperature 0): the largest logit, the lowest id among equals.
//   else: order tokens by (logit descending, id ascending); keep the first top_k; p = softmax(logit
//   / temperature) over these; keep the shortest beginning with sum >= top_p; drop those with p <
//   min_p * p of the first (never the first); pick by the position's uniform number along the
//   order. Sums in double, in order.
//
// NaN logits count as minus infinity. Holds scratch only: the object may be reused, one thread at a
// time.
class Sampler {
 public:
  int32_t Sample(absl::Span<const float> logits, const SamplingOptions& options, uint64_t position);

 private:
  struct Candidate {
    float logit;
    int32_t id;
  };
  // Makes the first `count` candidates the most likely ones, in order.
  void SortFirst(size_t count);

  std::vector<Candidate> candidates_;
  std::vector<double> weights_;
};

}  // namespace lckv
