#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "engine/ops/reference/reference_ops.h"
#include "engine/sampling/philox.h"
#include "engine/sampling/sampling_math.h"

namespace lckv::reference {
namespace {

struct Token {
  float logit;
  int32_t id;
  uint64_t weight;
};

// sampler.h, word for word.
int32_t SampleOne(const float* logits, int32_t vocab, const SampleRow& row) {
  const SamplingOptions& options = row.options;
  std::vector<Token> tokens;
  for (int32_t id = 0; id < vocab; ++id) {
    const float logit =
        std::isnan(logits[id]) ? -std::numeric_limits<float>::infinity() : logits[id];
    tokens.push_back({logit, id, 0});
  }
  std::stable_sort(tokens.begin(), tokens.end(),
                   [](const Token& a, const Token& b) { return a.logit > b.logit; });
  if (!(options.temperature > 0) || !std::isfinite(tokens[0].logit)) return tokens[0].id;
  if (options.top_k > 0 && options.top_k < vocab) {
    tokens.resize(static_cast<size_t>(options.top_k));
  }
  const WeightScale scale = MakeWeightScale(tokens[0].logit, options.temperature);
  uint64_t total = 0;
  for (Token& token : tokens) {
    token.weight = WeightOf(token.logit, scale);
    total += token.weight;
  }
  const uint64_t wanted = TopPWeight(options.top_p, total);
  const uint64_t least = MinPWeight(options.min_p);
  std::vector<Token> kept;
  uint64_t sum = 0;
  uint64_t kept_sum = 0;
  for (size_t i = 0; sum < wanted; ++i) {
    sum += tokens[i].weight;
    if (tokens[i].weight < least) continue;
    kept_sum += tokens[i].weight;
    kept.push_back(tokens[i]);
  }
  const uint64_t target = TargetOf(UniformBitsAt(options.seed, row.position), kept_sum);
  uint64_t reached = 0;
  size_t i = 0;
  while (reached + kept[i].weight <= target) reached += kept[i++].weight;
  return kept[i].id;
}

}  // namespace

void Sample(const SampleParams& params) {
  for (int64_t r = 0; r < params.rows; ++r) {
    params.out[r] = SampleOne(params.logits + r * params.vocab, params.vocab, params.choices[r]);
  }
}

}  // namespace lckv::reference
