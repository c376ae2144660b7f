#include <algorithm>
#include <cmath>
#include <cstring>
#include <iterator>
#include <limits>
#include <random>

#include "absl/strings/str_cat.h"
#include "tests/conformance/case_data.h"
#include "tests/conformance/op_cases.h"

namespace lckv::testing {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kTiny = std::numeric_limits<float>::denorm_min();

// What rows draw their options from; `0` as top_k is off, -1 is the vocabulary's size, -2 one less.
const SamplingOptions kOptions[] = {
    {0, 0, 1, 0, 0},
    {1, 0, 1, 0, 0},
    {-1, 3, 0.5f, 0, 0},
    {1, 1, 1, 0, 0},
    {1, 2, 1, 0, 0},
    {1, 5, 1, 0, 0},
    {1, -1, 1, 0, 0},
    {1, -2, 1, 0, 0},
    {1, 1 << 30, 1, 0, 0},
    {1, 0, 0, 0, 0},
    {1, 0, 1e-30f, 0, 0},
    {1, 0, 0.25f, 0, 0},  // of a power of two of equal tokens: exactly a border
    {1, 0, 0.25000003f, 0, 0},
    {1, 0, 0.24999999f, 0, 0},
    {0.8f, 0, 0.95f, 0, 0},
    {1, 0, 0.9999999f, 0, 0},
    {1, 0, 1, 0.05f, 0},
    {1, 0, 1, 1, 0},
    {5, 0, 1, 0.36787945f, 0},
    {2, 0, 0.5f, 0.25f, 0},
    {1, 40, 0.9f, 0.1f, 0},
    {0.7f, 7, 0.75f, 0.5f, 0},
    {100, 0, 0.999f, 0, 0},
    {0.01f, 0, 1, 0, 0},
    {kTiny, 0, 0.5f, 0, 0},
    {kInfinity, 0, 0.5f, 0, 0},
    {kNan, 0, 1, 0, 0},
    {1, 0, kNan, kNan, 0},
};

float LogitOf(LogitsKind kind, float normal, uint32_t random) {
  switch (kind) {
    case LogitsKind::kSpread:
      return 4 * normal;
    case LogitsKind::kFlat:
      return 0.01f * normal;
    case LogitsKind::kTies:
      return std::round(2 * normal);
    case LogitsKind::kEqual:
      return 1.5f;
    case LogitsKind::kHoles:
      if (random % 3 == 0) return random % 2 == 0 ? kNan : -kInfinity;
      return random % 3 == 1 ? std::copysign(0.0f, normal) : normal;
    case LogitsKind::kWide:
      return normal * (random % 2 == 0 ? 1e37f : 1e-37f);
    case LogitsKind::kNothing:
      return random % 2 == 0 ? kNan : -kInfinity;
    case LogitsKind::kInfinite:
      return random % 8 == 0 ? kInfinity : normal;
  }
  return 0;
}

class SampleCase final : public OpCase {
 public:
  explicit SampleCase(const SampleSpec& spec) : spec_(spec) {
    const auto vocab = static_cast<size_t>(spec.vocab);
    std::mt19937 random(static_cast<uint32_t>(spec.vocab));
    logits_ = Gaussian(static_cast<size_t>(spec.rows) * vocab, random());
    for (float& logit : logits_) logit = LogitOf(spec.kind, logit, random());
    for (int r = 0; r < spec.rows; ++r) {
      SampleRow row;
      row.options = kOptions[static_cast<size_t>(spec.first_option + r) % std::size(kOptions)];
      if (row.options.top_k < 0) row.options.top_k += spec.vocab + 1;
      row.options.seed = uint64_t{random()} << 32 | random();
      row.position = random();
      choices_.push_back(row);
    }
  }

  std::string Describe() const override {
    return absl::StrCat("sample rows ", spec_.rows, " of ", spec_.vocab, ", logits of kind ",
                        static_cast<int>(spec_.kind), ", options from ", spec_.first_option);
  }
  int rows() const override { return spec_.rows; }

  // The values are the tokens: float32 holds them exactly.
  OpOutcome Run(Backend& backend, int begin, int end) const override {
    const DeviceArray logits(backend,
                             std::vector<float>(logits_.begin() + int64_t{begin} * spec_.vocab,
                                                logits_.begin() + int64_t{end} * spec_.vocab));
    const DeviceArray choices(
        backend, std::vector<SampleRow>(choices_.begin() + begin, choices_.begin() + end));
    const GuardedOutput out(backend, std::vector<float>(static_cast<size_t>(end - begin)));
    backend.Sample({logits.as<float>(), choices.as<SampleRow>(), end - begin, spec_.vocab,
                    reinterpret_cast<int32_t*>(out.data())});
    OpOutcome outcome;
    for (const float value : out.Read(&outcome.stray_write)) {
      int32_t token;
      std::memcpy(&token, &value, sizeof(token));
      outcome.values.push_back(static_cast<float>(token));
    }
    return outcome;
  }

  std::vector<float> Tolerance() const override {
    return std::vector<float>(static_cast<size_t>(spec_.rows), 0.0f);
  }

 private:
  const SampleSpec spec_;
  std::vector<float> logits_;
  std::vector<SampleRow> choices_;
};

}  // namespace

std::unique_ptr<OpCase> MakeSampleCase(const SampleSpec& spec) {
  return std::make_unique<SampleCase>(spec);
}

}  // namespace lckv::testing
