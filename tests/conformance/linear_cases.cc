#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "engine/tensor/host_matrix.h"
#include "tests/conformance/case_data.h"
#include "tests/conformance/op_cases.h"

namespace lckv::testing {
namespace {

std::string DescribeWeight(const LinearSpec& spec) {
  return absl::StrCat(Name(spec.dtype), " [", spec.out_features, "][", spec.in_features, "]");
}

// A weight, as stored in its format and as the float32 values that it stands for.
class Weight {
 public:
  explicit Weight(const LinearSpec& spec)
      : spec_(spec),
        restored_(static_cast<size_t>(spec.out_features) * static_cast<size_t>(spec.in_features)) {
    const int64_t row_bytes = BytesOf(spec.dtype, spec.in_features);
    stored_.resize(static_cast<size_t>(row_bytes * spec.out_features));
    const std::vector<float> values = Gaussian(restored_.size(), 11);
    for (int64_t row = 0; row < spec.out_features; ++row) {
      QuantizeRow(values.data() + row * spec.in_features, spec.in_features, spec.dtype,
                  stored_.data() + row * row_bytes);
      DequantizeRow(matrix(), row, restored_.data() + row * spec.in_features);
    }
  }

  HostMatrix matrix() const {
    return {stored_.data(), spec_.dtype, spec_.out_features, spec_.in_features};
  }
  const float* row(int row) const {
    return restored_.data() + static_cast<int64_t>(row) * spec_.in_features;
  }
  std::unique_ptr<LinearWeight> Prepare(Backend& backend) const {
    auto weight = backend.PrepareLinear(matrix(), spec_.dtype);
    LCKV_CHECK(weight.ok());
    return *std::move(weight);
  }
  // How far a restored value may be off: d * q + m has one or two roundings of terms up to three
  // times the largest value.
  double RestoreError(int row) const {
    if (spec_.dtype != DType::kQ4_1) return 0;
    return 6 * kEpsilon * Largest(this->row(row), static_cast<size_t>(spec_.in_features));
  }

 private:
  const LinearSpec spec_;
  std::vector<uint8_t> stored_;
  std::vector<float> restored_;
};

class LinearCase final : public OpCase {
 public:
  explicit LinearCase(const LinearSpec& spec)
      : spec_(spec),
        weight_(spec),
        x_(Rounded(Gaussian(Count(spec.in_features), 12), spec.activations)),
        bias_(Gaussian(static_cast<size_t>(spec.out_features), 13)),
        residual_(Gaussian(Count(spec.out_features), 14)) {}

  std::string Describe() const override {
    return absl::StrCat("linear ", DescribeWeight(spec_), " rows ", spec_.rows,
                        spec_.bias ? " bias" : "", spec_.accumulate ? " accumulate" : "");
  }
  int rows() const override { return spec_.rows; }

  OpOutcome Run(Backend& backend, int begin, int end) const override {
    const std::unique_ptr<LinearWeight> weight = weight_.Prepare(backend);
    const std::vector<float> x(x_.begin() + begin * spec_.in_features,
                               x_.begin() + end * spec_.in_features);
    const std::vector<float> initial(residual_.begin() + begin * spec_.out_features,
                                     residual_.begin() + end * spec_.out_features);
    const ActivationArray device_x(backend, x);
    const DeviceArray bias(backend, bias_);
    const GuardedOutput out(backend, initial);
    backend.Linear({.weight = weight.get(),
                    .x = device_x.view(),
                    .bias = spec_.bias ? bias.as<float>() : nullptr,
                    .rows = end - begin,
                    .accumulate = spec_.accumulate,
                    .out = out.data()});
    OpOutcome outcome;
    outcome.values = out.Read(&outcome.stray_write);
    return outcome;
  }

  // A sum of n products in any order is off by less than n roundings of sum |w x|; the bias and the
  // residual add two more, the scales of quantised rows another two.
  std::vector<float> Tolerance() const override {
    std::vector<float> tolerance;
    for (int r = 0; r < spec_.rows; ++r) {
      const float* x = x_.data() + static_cast<int64_t>(r) * spec_.in_features;
      const double largest = Largest(x, static_cast<size_t>(spec_.in_features));
      for (int o = 0; o < spec_.out_features; ++o) {
        const float* w = weight_.row(o);
        double products = spec_.bias ? std::abs(static_cast<double>(bias_[Index(o)])) : 0;
        if (spec_.accumulate) products += std::abs(static_cast<double>(residual_[Index(o)])) + 4;
        double inputs = 0;
        double quantisation = 0;
        for (int i = 0; i < spec_.in_features; ++i) {
          const double product = std::abs(static_cast<double>(w[i]) * x[i]);
          products += product;
          quantisation += product * WeightRounding();
          quantisation += std::abs(static_cast<double>(w[i])) * QuantisationError(x, largest, i);
          inputs += std::abs(static_cast<double>(x[i]));
        }
        tolerance.push_back(static_cast<float>((spec_.in_features + 5) * kEpsilon * products +
                                               weight_.RestoreError(o) * inputs + quantisation));
      }
    }
    return tolerance;
  }

 private:
  // By how much x[i] may be off where bf16 rows meet row formats: half a step of its own format.
  double QuantisationError(const float* x, double largest, int i) const {
    if (spec_.activations == DType::kF32 || !IsRowQuantized(spec_.dtype)) return 0;
    if (spec_.dtype == DType::kI8) return largest / 127 * 0.5001;
    return std::max(std::abs(static_cast<double>(x[i])) / 16, largest / 448 * 0x1p-10) * 1.0001;
  }
  // The relative error of weights in block formats where they meet bf16 rows: they become bf16.
  double WeightRounding() const {
    const bool rounded = spec_.activations == DType::kBf16 && IsQuantized(spec_.dtype) &&
                         !IsRowQuantized(spec_.dtype);
    return rounded ? 0x1p-9 * 1.0001 : 0;
  }
  static size_t Index(int i) { return static_cast<size_t>(i); }
  size_t Count(int features) const {
    return static_cast<size_t>(spec_.rows) * static_cast<size_t>(features);
  }

  const LinearSpec spec_;
  const Weight weight_;
  const std::vector<float> x_;
  const std::vector<float> bias_;
  const std::vector<float> residual_;
};

class EmbedCase final : public OpCase {
 public:
  explicit EmbedCase(const LinearSpec& spec) : spec_(spec), weight_(spec) {}

  std::string Describe() const override { return absl::StrCat("embed ", DescribeWeight(spec_)); }
  int rows() const override { return spec_.out_features; }

  OpOutcome Run(Backend& backend, int begin, int end) const override {
    const std::unique_ptr<LinearWeight> table = weight_.Prepare(backend);
    std::vector<int32_t> tokens;
    for (int r = begin; r < end; ++r) tokens.push_back(Token(r));
    const DeviceArray device_tokens(backend, tokens);
    const GuardedOutput out(backend, std::vector<float>(static_cast<size_t>(end - begin) *
                                                        static_cast<size_t>(spec_.in_features)));
    backend.Embed({table.get(), device_tokens.as<int32_t>(), end - begin, out.data()});
    OpOutcome outcome;
    outcome.values = out.Read(&outcome.stray_write);
    return outcome;
  }

  std::vector<float> Tolerance() const override {
    std::vector<float> tolerance;
    for (int r = 0; r < rows(); ++r) {
      tolerance.insert(tolerance.end(), static_cast<size_t>(spec_.in_features),
                       static_cast<float>(weight_.RestoreError(Token(r))));
    }
    return tolerance;
  }

 private:
  // Every token once, in an order that jumps.
  int Token(int row) const { return spec_.out_features - 1 - row; }

  const LinearSpec spec_;
  const Weight weight_;
};

}  // namespace

std::unique_ptr<OpCase> MakeLinearCase(const LinearSpec& spec) {
  return std::make_unique<LinearCase>(spec);
}
std::unique_ptr<OpCase> MakeEmbedCase(const LinearSpec& spec) {
  return std::make_unique<EmbedCase>(spec);
}

}  // namespace lckv::testing
