#include "engine/sampling/sampler.h"

#include <algorithm>
#include <limits>

#include "base/check.h"
#include "engine/sampling/philox.h"
#include "engine/sampling/sampling_math.h"

namespace lckv {
namespace {

// Sorted so many at first, then eight times as many, as far as anybody asks.
constexpr size_t kFirstSorted = 64;

int32_t Greedy(absl::Span<const float> logits) {
  int32_t best = 0;
  float best_logit = -std::numeric_limits<float>::infinity();
  for (size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] > best_logit) {
      best_logit = logits[i];
      best = static_cast<int32_t>(i);
    }
  }
  return best;
}

float Largest(absl::Span<const float> logits) {
  float largest = -std::numeric_limits<float>::infinity();
  for (const float logit : logits) largest = logit > largest ? logit : largest;
  return largest;
}

uint32_t OrderOfCandidate(uint64_t candidate) { return static_cast<uint32_t>(candidate >> 32); }

}  // namespace

void Sampler::SortUpTo(size_t count) {
  const auto begin = candidates_.begin() + static_cast<int64_t>(sorted_);
  const auto middle = candidates_.begin() + static_cast<int64_t>(count);
  if (middle != candidates_.end()) std::nth_element(begin, middle, candidates_.end());
  std::sort(begin, middle);
  sorted_ = count;
}

uint64_t Sampler::Candidate(size_t i) {
  if (i >= sorted_) {
    SortUpTo(std::min(candidates_.size(), std::max(kFirstSorted, sorted_ * 8)));
  }
  return candidates_[i];
}

int32_t Sampler::Sample(absl::Span<const float> logits, const SamplingOptions& options,
                        uint64_t position) {
  LCKV_CHECK(!logits.empty() && logits.size() <= size_t{kMaxSampledVocabulary});
  if (!(options.temperature > 0)) return Greedy(logits);
  const float largest = Largest(logits);
  if (!IsFinite(largest)) return Greedy(logits);

  const WeightScale scale = MakeWeightScale(largest, options.temperature);
  const uint64_t least = MinPWeight(options.min_p);
  uint64_t total = 0;
  uint64_t kept = 0;  // the weight of what min_p and top_p leave
  const auto add = [&](uint64_t weight) {
    total += weight;
    kept += weight < least ? 0 : weight;
  };
  candidates_.resize(logits.size());
  sorted_ = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    candidates_[i] = uint64_t{OrderOf(logits[i])} << 32 | i;
  }
  if (options.top_k > 0 && static_cast<size_t>(options.top_k) < candidates_.size()) {
    std::nth_element(candidates_.begin(), candidates_.begin() + options.top_k, candidates_.end());
    candidates_.resize(static_cast<size_t>(options.top_k));
  }
  const auto weight_of = [&](uint64_t candidate) {
    return WeightOf(LogitOf(OrderOfCandidate(candidate)), scale);
  };
  for (const uint64_t candidate : candidates_) add(weight_of(candidate));

  if (const uint64_t wanted = TopPWeight(options.top_p, total); wanted < total) {
    total = 0;
    kept = 0;
    for (size_t i = 0; total < wanted; ++i) add(weight_of(Candidate(i)));
  }
  uint64_t rest = TargetOf(UniformBitsAt(options.seed, position), kept);
  for (size_t i = 0;; ++i) {
    const uint64_t candidate = Candidate(i);
    const uint64_t weight = weight_of(candidate);
    if (weight < least) continue;
    if (rest < weight) return static_cast<int32_t>(candidate & 0xffffffffu);
    rest -= weight;
  }
}

}  // namespace lckv
