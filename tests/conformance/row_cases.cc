#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "tests/conformance/case_data.h"
#include "tests/conformance/op_cases.h"

namespace lckv::testing {
namespace {

std::vector<float> Slice(const std::vector<float>& values, int begin, int end, int size) {
  return std::vector<float>(values.begin() + static_cast<int64_t>(begin) * size,
                            values.begin() + static_cast<int64_t>(end) * size);
}

size_t Product(int a, int b) { return static_cast<size_t>(a) * static_cast<size_t>(b); }

class RmsNormCase final : public OpCase {
 public:
  explicit RmsNormCase(const RowsSpec& spec)
      : spec_(spec),
        x_(Gaussian(Product(spec.rows, spec.size), 21)),
        weight_(Gaussian(static_cast<size_t>(spec.size), 22)) {}

  std::string Describe() const override {
    return absl::StrCat("rms_norm rows ", spec_.rows, " size ", spec_.size);
  }
  int rows() const override { return spec_.rows; }

  // In place where that is allowed: the harder of the two contracts.
  OpOutcome Run(Backend& backend, int begin, int end) const override {
    const DeviceArray weight(backend, weight_);
    const DType dtype = backend.activation_dtype();
    const std::vector<float> rows = Slice(x_, begin, end, spec_.size);
    const DeviceArray x(backend, rows);
    const GuardedOutput out(backend, rows, dtype);
    backend.RmsNorm({dtype == DType::kF32 ? out.data() : x.as<float>(), weight.as<float>(),
                     kRmsEpsilon, end - begin, spec_.size, out.activations()});
    OpOutcome outcome;
    outcome.values = out.Read(&outcome.stray_write);
    return outcome;
  }

  // The sum of squares has no cancellation: size roundings at most, halved by the root; a few more
  // for the rest.
  std::vector<float> Tolerance() const override {
    std::vector<float> tolerance;
    for (int r = 0; r < spec_.rows; ++r) {
      const float* x = x_.data() + static_cast<int64_t>(r) * spec_.size;
      const double norm = Norm(x, static_cast<size_t>(spec_.size));
      const double scale =
          1 / std::sqrt(norm * norm / spec_.size + static_cast<double>(kRmsEpsilon));
      for (int i = 0; i < spec_.size; ++i) {
        const double value = std::abs(static_cast<double>(x[i]) * scale *
                                      static_cast<double>(weight_[static_cast<size_t>(i)]));
        tolerance.push_back(static_cast<float>(
            ((spec_.size / 2.0 + 6) * kEpsilon + RoundingOf(spec_.activations)) * value));
      }
    }
    return tolerance;
  }

 private:
  static constexpr float kRmsEpsilon = 1e-5f;
  const RowsSpec spec_;
  const std::vector<float> x_;
  const std::vector<float> weight_;
};

class SwiGluCase final : public OpCase {
 public:
  explicit SwiGluCase(const RowsSpec& spec)
      : spec_(spec),
        gate_(Gaussian(Product(spec.rows, spec.size), 31)),
        up_(Gaussian(Product(spec.rows, spec.size), 32)) {
    // The far ends, where the exponential leaves the range of float32, and zeros.
    constexpr float kSpecial[] = {0.0f,  -0.0f,  90.0f, -90.0f, 88.5f, -88.5f,
                                  87.4f, -87.4f, 1e30f, -1e30f, 20.0f, -20.0f};
    for (size_t i = 0; i < gate_.size(); ++i) {
      gate_[i] *= 4;
      if (i % 5 == 0) gate_[i] = kSpecial[i / 5 % std::size(kSpecial)];
    }
  }

  std::string Describe() const override {
    return absl::StrCat("swi_glu rows ", spec_.rows, " size ", spec_.size);
  }
  int rows() const override { return spec_.rows; }

  OpOutcome Run(Backend& backend, int begin, int end) const override {
    const DeviceArray up(backend, Slice(up_, begin, end, spec_.size));
    const DType dtype = backend.activation_dtype();
    const std::vector<float> rows = Slice(gate_, begin, end, spec_.size);
    const DeviceArray gate(backend, rows);
    const GuardedOutput out(backend, rows, dtype);
    backend.SwiGlu({dtype == DType::kF32 ? out.data() : gate.as<float>(), up.as<float>(),
                    end - begin, spec_.size, out.activations()});
    OpOutcome outcome;
    outcome.values = out.Read(&outcome.stray_write);
    return outcome;
  }

  // exp within 2 ulp and three more roundings; below e^-87 the result may be flushed to zero.
  std::vector<float> Tolerance() const override {
    std::vector<float> tolerance;
    for (size_t i = 0; i < gate_.size(); ++i) {
      const double gate = static_cast<double>(gate_[i]);
      const double up = std::abs(static_cast<double>(up_[i]));
      const double silu = std::abs(gate) / (1 + std::exp(-gate));
      const double flushed = gate < -87 ? std::abs(gate) * std::exp(-87.0) : 0;
      tolerance.push_back(static_cast<float>(
          ((8 * kEpsilon + RoundingOf(spec_.activations)) * silu + flushed) * up + 1e-44));
    }
    return tolerance;
  }

 private:
  const RowsSpec spec_;
  std::vector<float> gate_;
  const std::vector<float> up_;
};

// Rows spread over one buffer, copied to places in another.
class RowMoveCase : public OpCase {
 public:
  RowMoveCase(const RowsSpec& spec, const char* op)
      : spec_(spec), op_(op), x_(Gaussian(Product(spec.rows, spec.size), 41)) {}

  std::string Describe() const override {
    return absl::StrCat(op_, " rows ", spec_.rows, " size ", spec_.size);
  }
  int rows() const override { return spec_.rows; }

  OpOutcome Run(Backend& backend, int begin, int end) const override {
    std::vector<int32_t> from;
    for (int r = begin; r < end; ++r) from.push_back(r * 7 % spec_.rows);
    const DeviceArray x(backend, x_);
    const GuardedOutput out(backend, std::vector<float>(Product(end - begin, spec_.size)));
    Move(backend, x.as<float>(), from, out.data());
    OpOutcome outcome;
    outcome.values = out.Read(&outcome.stray_write);
    return outcome;
  }

  std::vector<float> Tolerance() const override { return std::vector<float>(x_.size(), 0.0f); }

 protected:
  int size() const { return spec_.size; }

 private:
  // out[i] = x[from[i]].
  virtual void Move(Backend& backend, const float* x, const std::vector<int32_t>& from,
                    float* out) const = 0;

  const RowsSpec spec_;
  const char* const op_;
  const std::vector<float> x_;
};

class GatherRowsCase final : public RowMoveCase {
 public:
  explicit GatherRowsCase(const RowsSpec& spec) : RowMoveCase(spec, "gather_rows") {}

 private:
  void Move(Backend& backend, const float* x, const std::vector<int32_t>& from,
            float* out) const override {
    const DeviceArray indices(backend, from);
    backend.GatherRows({x, indices.as<int32_t>(), static_cast<int32_t>(from.size()), size(), out});
  }
};

class CopyRowsCase final : public RowMoveCase {
 public:
  explicit CopyRowsCase(const RowsSpec& spec) : RowMoveCase(spec, "copy_rows") {}

 private:
  void Move(Backend& backend, const float* x, const std::vector<int32_t>& from,
            float* out) const override {
    std::vector<const float*> sources;
    std::vector<float*> targets;
    for (const int32_t row : from) {
      targets.push_back(out + static_cast<int64_t>(sources.size()) * size());
      sources.push_back(x + int64_t{row} * size());
    }
    const DeviceArray device_sources(backend, sources);
    const DeviceArray device_targets(backend, targets);
    backend.CopyRows({device_sources.as<const float*>(), device_targets.as<float*>(),
                      static_cast<int32_t>(from.size()), size()});
  }
};

class RopeCase final : public OpCase {
 public:
  explicit RopeCase(const RopeSpec& spec)
      : spec_(spec),
        x_(Gaussian(Product(spec.rows, spec.heads * spec.head_dim), 51)),
        cos_sin_(RotaryTable(kPositions, spec.head_dim)) {}

  std::string Describe() const override {
    return absl::StrCat("rope rows ", spec_.rows, " heads ", spec_.heads, " of ", spec_.head_dim);
  }
  int rows() const override { return spec_.rows; }

  OpOutcome Run(Backend& backend, int begin, int end) const override {
    std::vector<int32_t> positions;
    for (int r = begin; r < end; ++r) positions.push_back(r * 13 % kPositions);
    const DeviceArray device_positions(backend, positions);
    const DeviceArray cos_sin(backend, cos_sin_);
    const GuardedOutput x(backend, Slice(x_, begin, end, spec_.heads * spec_.head_dim));
    RopeAndStoreParams params;
    params.cos_sin = cos_sin.as<float>();
    params.queries = {x.data(), device_positions.as<int32_t>(), end - begin, spec_.heads,
                      spec_.head_dim};
    backend.RopeAndStore(params);
    OpOutcome outcome;
    outcome.values = x.Read(&outcome.stray_write);
    return outcome;
  }

  // Two products and a sum, whose terms are at most the pair's norm.
  std::vector<float> Tolerance() const override {
    std::vector<float> tolerance(x_.size());
    const size_t half = static_cast<size_t>(spec_.head_dim) / 2;
    for (size_t i = 0; i < x_.size(); ++i) {
      const size_t first = i / (2 * half) * (2 * half) + i % half;
      const float pair[2] = {x_[first], x_[first + half]};
      tolerance[i] = static_cast<float>(3 * kEpsilon * Norm(pair, 2));
    }
    return tolerance;
  }

 private:
  static constexpr int kPositions = 50;
  const RopeSpec spec_;
  const std::vector<float> x_;
  const std::vector<float> cos_sin_;
};

}  // namespace

std::unique_ptr<OpCase> MakeRmsNormCase(const RowsSpec& spec) {
  return std::make_unique<RmsNormCase>(spec);
}
std::unique_ptr<OpCase> MakeSwiGluCase(const RowsSpec& spec) {
  return std::make_unique<SwiGluCase>(spec);
}
std::unique_ptr<OpCase> MakeGatherRowsCase(const RowsSpec& spec) {
  return std::make_unique<GatherRowsCase>(spec);
}
std::unique_ptr<OpCase> MakeCopyRowsCase(const RowsSpec& spec) {
  return std::make_unique<CopyRowsCase>(spec);
}
std::unique_ptr<OpCase> MakeRopeCase(const RopeSpec& spec) {
  return std::make_unique<RopeCase>(spec);
}

}  // namespace lckv::testing
