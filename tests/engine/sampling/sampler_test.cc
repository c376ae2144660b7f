#include "engine/sampling/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <random>
#include <vector>

#include "engine/sampling/philox.h"

namespace lckv {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

int32_t SampleOnce(const std::vector<float>& logits, const SamplingOptions& options,
                   uint64_t position) {
  Sampler sampler;
  return sampler.Sample(logits, options, position);
}

// The slow twin: sorts everything, long double throughout. Nothing when a decision is so close to
// its border that the rounding of weights, 2^-41 of the first one each, may decide it.
std::optional<int32_t> SimpleSample(const std::vector<float>& logits,
                                    const SamplingOptions& options, uint64_t position) {
  constexpr long double kClose = 5e-9L;
  const auto is_close = [&](long double a, long double b) { return std::abs(a - b) < kClose; };
  struct Token {
    long double logit;
    int32_t id;
  };
  std::vector<Token> tokens;
  for (size_t i = 0; i < logits.size(); ++i) {
    const float logit = std::isnan(logits[i]) ? -kInfinity : logits[i];
    tokens.push_back({static_cast<long double>(logit), static_cast<int32_t>(i)});
  }
  std::stable_sort(tokens.begin(), tokens.end(),
                   [](const Token& a, const Token& b) { return a.logit > b.logit; });
  if (options.temperature <= 0 || std::isinf(tokens[0].logit)) return tokens[0].id;
  if (options.top_k > 0) {
    tokens.resize(std::min(tokens.size(), static_cast<size_t>(options.top_k)));
  }
  std::vector<long double> p;
  long double total = 0;
  for (const Token& token : tokens) {
    p.push_back(
        std::exp((token.logit - tokens[0].logit) / static_cast<long double>(options.temperature)));
    total += p.back();
  }
  for (long double& value : p) value /= total;

  size_t kept = options.top_p < 1 ? 0 : p.size();
  for (long double sum = 0; options.top_p < 1 && kept < p.size(); ++kept) {
    if (kept > 0 && is_close(sum, options.top_p) && p[kept] > 0) return std::nullopt;
    if (kept > 0 && sum >= options.top_p) break;
    sum += p[kept];
  }
  const long double least = static_cast<long double>(options.min_p) * p[0];
  for (; kept > 1 && p[kept - 1] < least; --kept) {
    if (is_close(p[kept - 1], least)) return std::nullopt;
  }
  if (options.min_p > 0 && kept > 1 && is_close(p[kept - 1], least)) return std::nullopt;

  long double sum = 0;
  for (size_t i = 0; i < kept; ++i) sum += p[i];
  const long double wanted =
      static_cast<long double>(UniformBitsAt(options.seed, position)) * 0x1p-53L * sum;
  long double reached = 0;
  for (size_t i = 0; i < kept; ++i) {
    reached += p[i];
    if (i + 1 < kept && is_close(wanted, reached)) return std::nullopt;
    if (wanted < reached || i + 1 == kept) return tokens[i].id;
  }
  return std::nullopt;
}

// Logits of several characters: spread out, flat, with many ties, with holes.
std::vector<float> RandomLogits(std::mt19937& random, size_t vocab) {
  std::normal_distribution<float> normal(0, 3);
  std::vector<float> logits(vocab);
  const uint32_t kind = random() % 4;
  for (float& logit : logits) {
    logit = normal(random);
    if (kind == 1) logit = std::round(logit);
    if (kind == 2) logit *= 0.01f;
    if (kind == 3 && random() % 5 == 0) logit = random() % 2 == 0 ? kNan : -kInfinity;
  }
  return logits;
}

TEST(SamplerTest, GreedyTakesTheLargestTheLowestIdAmongEquals) {
  const struct {
    std::vector<float> logits;
    int32_t token;
  } cases[] = {
      {{1}, 0},
      {{1, 3, 2}, 1},
      {{3, 1, 3}, 0},
      {{-5, -2, -2}, 1},
      {{kNan, 1, 2}, 2},
      {{2, kNan, 1}, 0},
      {{kNan, kNan}, 0},
      {{-kInfinity, -kInfinity}, 0},
      {{0, kInfinity, kInfinity}, 1},
      {{-0.0f, 0.0f}, 0},
  };
  for (const auto& c : cases) {
    const bool finite = std::any_of(c.logits.begin(), c.logits.end(),
                                    [](float logit) { return std::isfinite(logit); });
    const bool infinite = std::find(c.logits.begin(), c.logits.end(), kInfinity) != c.logits.end();
    for (float temperature : {0.0f, -1.0f, 1.0f}) {
      // Where probabilities make no sense, sampling is greedy too.
      if (temperature > 0 && finite && !infinite) continue;
      for (uint64_t position = 0; position < 9; ++position) {
        EXPECT_EQ(SampleOnce(c.logits, {temperature, 0, 1, 0, 99}, position), c.token);
      }
    }
  }
}

TEST(SamplerTest, WhatLeavesOneTokenIsGreedy) {
  const std::vector<float> logits = {0, 2.5f, 2.25f, 2.5f, -1};
  std::vector<SamplingOptions> narrow(5, SamplingOptions{1, 0, 1, 0, 0});
  narrow[0].top_k = 1;
  narrow[1].top_p = 0;
  narrow[2].top_p = 1e-9f;
  narrow[3].temperature = 1e-30f;
  narrow[3].top_k = 1;
  narrow[4].temperature = std::numeric_limits<float>::denorm_min();
  narrow[4].top_p = 0.5f;  // both of 2.5 have one half
  for (const SamplingOptions& options : narrow) {
    for (uint64_t position = 0; position < 50; ++position) {
      EXPECT_EQ(SampleOnce(logits, options, position), 1);
    }
  }
}

TEST(SamplerTest, TiesAtABorderGoToTheLowerId) {
  // Five equal tokens: top_k = 2 keeps ids 0 and 1; top_p = 0.4 the same; min_p drops none.
  const std::vector<float> logits(5, 1.5f);
  for (const SamplingOptions& options :
       {SamplingOptions{1, 2, 1, 0, 7}, SamplingOptions{1, 0, 0.375f, 0, 7}}) {
    std::vector<int> counts(5, 0);
    for (uint64_t position = 0; position < 400; ++position) {
      ++counts[static_cast<size_t>(SampleOnce(logits, options, position))];
    }
    EXPECT_GT(counts[0], 120);
    EXPECT_GT(counts[1], 120);
    EXPECT_EQ(counts[0] + counts[1], 400);
  }
  std::vector<int> counts(5, 0);
  for (uint64_t position = 0; position < 400; ++position) {
    ++counts[static_cast<size_t>(SampleOnce(logits, {1, 0, 1, 1, 7}, position))];
  }
  for (int count : counts) EXPECT_GT(count, 40);
}

TEST(SamplerTest, MinPBelowOneKeepsTheFirstAndItsEquals) {
  const std::vector<float> logits = {1, 2, 2, 1.999f};
  const SamplingOptions options{1, 0, 1, std::nextafter(1.0f, 0.0f), 3};
  std::vector<int> counts(4, 0);
  for (uint64_t position = 0; position < 400; ++position) {
    ++counts[static_cast<size_t>(SampleOnce(logits, options, position))];
  }
  EXPECT_EQ(counts[0] + counts[3], 0);
  EXPECT_GT(counts[1], 120);
  EXPECT_GT(counts[2], 120);
}

TEST(SamplerTest, AgreesWithTheSlowTwinAndKeepsNoHistory) {
  std::mt19937 random(11);
  Sampler reused;
  int compared = 0, total = 0;
  for (size_t vocab : {1, 2, 3, 63, 64, 65, 97, 700, 5000}) {
    for (int round = vocab < 500 ? 25 : 6; round > 0; --round) {
      const std::vector<float> logits = RandomLogits(random, vocab);
      for (float temperature : {0.0f, 0.01f, 0.8f, 1.0f, 5.0f}) {
        for (int32_t top_k : {0, 1, 40, 64, 1 << 30}) {
          const float top_p = std::vector<float>{1, 0.95f, 0.5f, 1e-4f, 0}[random() % 5];
          const float min_p = std::vector<float>{0, 0.05f, 0.5f, 1}[random() % 4];
          const SamplingOptions options{temperature, top_k, top_p, min_p, random()};
          const uint64_t position = random();
          ++total;
          const auto expected = SimpleSample(logits, options, position);
          if (!expected.has_value()) continue;
          ++compared;
          ASSERT_EQ(reused.Sample(logits, options, position), *expected)
              << "vocab " << vocab << " temperature " << temperature << " top_k " << top_k
              << " top_p " << top_p << " min_p " << min_p << " seed " << options.seed
              << " position " << position;
          ASSERT_EQ(SampleOnce(logits, options, position), *expected);
        }
      }
    }
  }
  EXPECT_GT(compared, total * 9 / 10) << "the twin gave up too often to prove anything";
}

TEST(SamplerTest, FrequenciesFollowTheProbabilities) {
  constexpr int kDraws = 40'000;
  const std::vector<float> logits = {0.5f, -1.0f, 2.0f, 0.0f, 1.0f};
  const SamplingOptions options{0.7f, 0, 1, 0, 2024};
  std::vector<double> p;
  double total = 0;
  for (float logit : logits) total += p.emplace_back(std::exp(logit / 0.7));
  std::vector<int> counts(logits.size(), 0);
  Sampler sampler;
  for (uint64_t position = 0; position < kDraws; ++position) {
    ++counts[static_cast<size_t>(sampler.Sample(logits, options, position))];
  }
  for (size_t i = 0; i < p.size(); ++i) {
    const double expected = kDraws * p[i] / total;
    EXPECT_NEAR(counts[i], expected, 5 * std::sqrt(expected)) << i;
  }
}

TEST(SamplerTest, AnImpossibleTokenIsNeverChosen) {
  const std::vector<float> logits = {1, -kInfinity, kNan, 1.5f, -kInfinity};
  for (uint64_t position = 0; position < 500; ++position) {
    const int32_t token = SampleOnce(logits, {2, 0, 1, 0, 5}, position);
    EXPECT_TRUE(token == 0 || token == 3) << token;
  }
}

}  // namespace
}  // namespace lckv
