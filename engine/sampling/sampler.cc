#include "engine/sampling/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"
#include "engine/sampling/philox.h"

namespace lckv {
namespace {

// Sorted so many at first, then eight times as many, until top_p is reached.
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

}  // namespace

void Sampler::SortFirst(size_t count) {
  const auto before = [](const Candidate& a, const Candidate& b) {
    return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
  };
  const auto middle = candidates_.begin() + static_cast<int64_t>(count);
  if (middle != candidates_.end())
    std::nth_element(candidates_.begin(), middle, candidates_.end(), before);
  std::sort(candidates_.begin(), middle, before);
}

int32_t Sampler::Sample(absl::Span<const float> logits, const SamplingOptions& options,
                        uint64_t position) {
  LCKV_CHECK(!logits.empty());
  if (options.temperature <= 0) return Greedy(logits);
  candidates_.clear();
  candidates_.reserve(logits.size());
  float largest = -std::numeric_limits<float>::infinity();
  for (size_t i = 0; i < logits.size(); ++i) {
    const float logit = std::isnan(logits[i]) ? -std::numeric_limits<float>::infinity() : logits[i];
    candidates_.push_back({logit, static_cast<int32_t>(i)});
    largest = std::max(largest, logit);
  }
  if (!std::isfinite(largest)) return Greedy(logits);

  const double inverse_temperature = 1.0 / static_cast<double>(options.temperature);
  const auto weight = [&](const Candidate& candidate) {
    return std::exp((static_cast<double>(candidate.logit) - static_cast<double>(largest)) *
                    inverse_temperature);
  };
  size_t sorted = candidates_.size();
  double total = 0;
  if (options.top_k > 0 && static_cast<size_t>(options.top_k) < candidates_.size()) {
    sorted = static_cast<size_t>(options.top_k);
    SortFirst(sorted);
    candidates_.resize(sorted);
    for (const Candidate& candidate : candidates_) total += weight(candidate);
  } else {
    // In id order: the order of this sum must not depend on how far sorting went.
    for (const Candidate& candidate : candidates_) total += weight(candidate);
    sorted = 0;
  }

  // How long the beginning is that top_p keeps.
  const double wanted = static_cast<double>(options.top_p) * total;
  weights_.clear();
  double sum = 0;
  while (weights_.size() < candidates_.size() && (weights_.empty() || sum < wanted)) {
    if (weights_.size() == sorted) {
      sorted = std::min(candidates_.size(), std::max(kFirstSorted, sorted * 8));
      SortFirst(sorted);
    }
    weights_.push_back(weight(candidates_[weights_.size()]));
    sum += weights_.back();
  }
  const double least = static_cast<double>(options.min_p) * weights_.front();
  while (weights_.size() > 1 && weights_.back() < least) {
    weights_.pop_back();
  }
  // Summed again, so that the picking below ends exactly at the last candidate.
  sum = 0;
  for (const double w : weights_) sum += w;
  double rest = UniformAt(options.seed, position) * sum;
  // Rounding may leave a rest behind the last one: it is the last possible one's.
  size_t picked = 0;
  for (size_t i = 0; i < weights_.size(); ++i) {
    if (weights_[i] <= 0) continue;
    picked = i;
    if (rest < weights_[i]) break;
    rest -= weights_[i];
  }
  return candidates_[picked].id;
}

}  // namespace lckv
