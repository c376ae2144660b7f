#pragma once

#include <cstdint>

namespace lckv {

// How the next token is chosen. Defaults: greedy.
struct SamplingOptions {
  float temperature = 0;  // 0: greedy
  int32_t top_k = 0;      // keep the k most likely; 0: off
  float top_p = 1;  // keep the smallest set of most likely tokens with at least this probability
  float min_p = 0;  // drop tokens less likely than min_p times the most likely one
  uint64_t seed = 0;
};

}  // namespace lckv
