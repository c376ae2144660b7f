// Choosing tokens, one block a row of logits: sampler.h with integer sums over the block in place
// of a sorted list.
//
// Every question is "at which token does a running sum along the order pass a goal" (top_k: of
// ones; top_p, the choice itself: of weights). The answer is found four bits of the order at a
// time: sums by digit of all tokens with the digits found so far, one pass over the row each. Each
// thread sums in a column of its own, so equal digits, which are the rule, cost nothing.

#include "engine/ops/cuda/kernels.h"
#include "engine/ops/cuda/launch.cuh"
#include "engine/ops/cuda/reduce.cuh"
#include "engine/sampling/philox.h"
#include "engine/sampling/sampling_math.h"

namespace lckv::gpu {
namespace {

constexpr int32_t kThreads = 512;
constexpr int32_t kDigitBits = 4;
constexpr int32_t kDigits = 1 << kDigitBits;
static_assert(kThreads / kWarp == kDigits, "each warp sums one digit");
constexpr size_t kColumnBytes = size_t{kThreads} * kDigits * sizeof(uint64_t);

LCKV_DEVICE inline uint64_t ShuffleXor64(uint64_t value, int32_t distance) {
  const uint32_t low = device::ShuffleXor(static_cast<uint32_t>(value), distance);
  const uint32_t high = device::ShuffleXor(static_cast<uint32_t>(value >> 32), distance);
  return uint64_t{high} << 32 | low;
}

// The block's work on one row. All threads call every method and get the same answers.
struct RowSampler {
  const float* logits;
  int32_t vocab;
  device::SharedPointer<uint64_t> columns;  // [kDigits][kThreads]
  device::SharedPointer<uint64_t> totals;   // [kDigits]
  WeightScale scale;
  uint64_t least;  // lighter tokens weigh nothing

  // The place of one token in the order.
  struct Place {
    uint32_t order;
    uint64_t before;  // the sum of all tokens with a smaller order
  };

  // totals[d] = sum of `value` over ids in [begin, end) with digit d, where visit(id, &digit,
  // &value) says that the token takes part.
  template <typename Visit>
  LCKV_DEVICE void SumByDigit(int32_t begin, int32_t end, const Visit& visit) const {
    const auto thread = static_cast<int32_t>(threadIdx.x);
    for (int32_t d = 0; d < kDigits; ++d) columns[d * kThreads + thread] = 0;
    for (int32_t id = begin + thread; id < end; id += kThreads) {
      int32_t digit = 0;
      uint64_t value = 0;
      if (!visit(id, &digit, &value)) continue;
      const int32_t at = digit * kThreads + thread;
      columns[at] = columns[at] + value;
    }
    __syncthreads();
    const int32_t warp = thread / kWarp;
    uint64_t sum = 0;
    for (int32_t i = thread % kWarp; i < kThreads; i += kWarp) sum += columns[warp * kThreads + i];
    for (int32_t distance = kWarp / 2; distance > 0; distance /= 2) {
      sum += ShuffleXor64(sum, distance);
    }
    if (thread % kWarp == 0) totals[warp] = sum;
    __syncthreads();
  }

  // The digit at which the running sum passes `goal`, which loses the sum of the digits before.
  LCKV_DEVICE int32_t PassDigit(uint64_t& goal) const {
    int32_t digit = 0;
    for (; digit < kDigits - 1; ++digit) {
      const uint64_t total = totals[digit];
      if (goal < total) break;
      goal -= total;
    }
    return digit;
  }

  // The order of the token at which the running sum of measure(logit) first is above `goal`, which
  // is less than the sum of all.
  template <typename Measure>
  LCKV_DEVICE Place Find(uint64_t goal, const Measure& measure) const {
    uint32_t order = 0;
    uint64_t rest = goal;
    uint32_t known = 0;  // mask of the digits found so far
    for (int32_t shift = 32 - kDigitBits; shift >= 0; shift -= kDigitBits) {
      SumByDigit(0, vocab, [&](int32_t id, int32_t* digit, uint64_t* value) {
        const float logit = logits[id];
        const uint32_t own = OrderOf(logit);
        if (((own ^ order) & known) != 0) return false;
        *digit = static_cast<int32_t>(own >> shift) & (kDigits - 1);
        *value = measure(logit);
        return true;
      });
      order |= static_cast<uint32_t>(PassDigit(rest)) << shift;
      known |= static_cast<uint32_t>(kDigits - 1) << shift;
    }
    return {order, goal - rest};
  }

  // The token with this order that has `rank` others of lower id.
  LCKV_DEVICE int32_t FindId(uint32_t order, uint64_t rank) const {
    int32_t begin = 0;
    int32_t end = vocab;
    while (end - begin > 1) {
      const int32_t width = (end - begin + kDigits - 1) / kDigits;
      SumByDigit(begin, end, [&](int32_t id, int32_t* digit, uint64_t* value) {
        *digit = (id - begin) / width;
        *value = 1;
        return OrderOf(logits[id]) == order;
      });
      begin += PassDigit(rank) * width;
      end = min(begin + width, end);
    }
    return begin;
  }

  LCKV_DEVICE uint64_t Weight(float logit) const { return WeightOf(logit, scale); }
  LCKV_DEVICE uint64_t WeightOrNothing(float logit) const {
    const uint64_t weight = Weight(logit);
    return weight < least ? 0 : weight;
  }

  // The sum of measure(logit) over the tokens with a smaller order, or over all.
  template <typename Measure>
  LCKV_DEVICE uint64_t SumBefore(uint32_t order, bool all, const Measure& measure) const {
    SumByDigit(0, vocab, [&](int32_t id, int32_t* /*digit*/, uint64_t* value) {
      if (!all && OrderOf(logits[id]) >= order) return false;
      *value = measure(logits[id]);
      return true;
    });
    return totals[0];
  }

  // order << 32 | id of the first token.
  LCKV_DEVICE uint64_t First() const {
    const auto thread = static_cast<int32_t>(threadIdx.x);
    uint64_t first = ~uint64_t{0};
    for (int32_t id = thread; id < vocab; id += kThreads) {
      first = min(first, uint64_t{OrderOf(logits[id])} << 32 | static_cast<uint32_t>(id));
    }
    for (int32_t distance = kWarp / 2; distance > 0; distance /= 2) {
      first = min(first, ShuffleXor64(first, distance));
    }
    if (thread % kWarp == 0) totals[thread / kWarp] = first;
    __syncthreads();
    for (int32_t warp = 0; warp < kThreads / kWarp; ++warp) {
      const uint64_t other = totals[warp];
      first = min(first, other);
    }
    __syncthreads();
    return first;
  }

  // The weight of what top_k, top_p and min_p keep.
  LCKV_DEVICE uint64_t KeptWeight(const SamplingOptions& options) const {
    const auto one = [](float /*logit*/) { return uint64_t{1}; };
    const auto weight = [&](float logit) { return Weight(logit); };
    const auto weight_or_nothing = [&](float logit) { return WeightOrNothing(logit); };
    // The last token that is kept, and how many of its order are; none: all tokens are.
    bool all = true;
    Place last = {0, 0};
    uint64_t equals = 0;
    if (options.top_k > 0 && options.top_k < vocab) {
      const auto goal = static_cast<uint64_t>(options.top_k - 1);
      last = Find(goal, one);
      equals = goal - last.before + 1;
      all = false;
    }
    const uint64_t last_weight = Weight(LogitOf(last.order));
    uint64_t total = SumBefore(last.order, all, weight) + (all ? 0 : equals * last_weight);
    const uint64_t wanted = TopPWeight(options.top_p, total);
    if (wanted < total) {
      last = Find(wanted - 1, weight);
      const uint64_t each = Weight(LogitOf(last.order));
      equals = (wanted - 1 - last.before) / each + 1;
      total = last.before + equals * each;
      all = false;
    }
    if (least == 0) return total;
    const uint64_t each = all ? 0 : WeightOrNothing(LogitOf(last.order));
    return SumBefore(last.order, all, weight_or_nothing) + equals * each;
  }

  LCKV_DEVICE int32_t Choose(const SampleRow& choice) const {
    const uint64_t kept = KeptWeight(choice.options);
    const uint64_t target = TargetOf(UniformBitsAt(choice.options.seed, choice.position), kept);
    const Place place = Find(target, [&](float logit) { return WeightOrNothing(logit); });
    const uint64_t each = WeightOrNothing(LogitOf(place.order));
    return FindId(place.order, (target - place.before) / each);
  }
};

__global__ void __launch_bounds__(kThreads) SampleKernel(SampleParams args) {
  LCKV_DYNAMIC_SHARED(uint64_t, columns);
  LCKV_SHARED(uint64_t, totals, kDigits);
  const auto row = static_cast<int64_t>(blockIdx.x);
  const SampleRow choice = args.choices[row];
  RowSampler sampler = {args.logits + row * args.vocab, args.vocab, columns, totals, {}, 0};
  const uint64_t first = sampler.First();
  const float largest = LogitOf(static_cast<uint32_t>(first >> 32));
  auto token = static_cast<int32_t>(first & 0xffffffffu);
  if (choice.options.temperature > 0 && IsFinite(largest)) {
    sampler.scale = MakeWeightScale(largest, choice.options.temperature);
    sampler.least = MinPWeight(choice.options.min_p);
    token = sampler.Choose(choice);
  }
  if (threadIdx.x == 0) args.out[row] = token;
}

}  // namespace

int LaunchSample(const SampleParams& args, Stream stream) {
  return Launch(SampleKernel, {static_cast<unsigned>(args.rows)}, {kThreads}, kColumnBytes, stream,
                args);
}

}  // namespace lckv::gpu
