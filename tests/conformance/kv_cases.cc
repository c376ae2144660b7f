#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "tests/conformance/case_data.h"
#include "tests/conformance/kv_memory.h"
#include "tests/conformance/op_cases.h"

namespace lckv::testing {
namespace {

constexpr uint8_t kNanFill = 0xFF;     // a NaN in every format
constexpr uint8_t kFiniteFill = 0x3A;  // a number in every format

std::string DescribeKv(const KvSpec& spec) {
  std::string text =
      absl::StrCat(Name(spec.dtype), " kv heads ", spec.kv_heads, " of ", spec.head_dim,
                   ", pages of ", spec.tokens_per_page, ", rows ", spec.rows.size());
  for (const SequenceSpec& sequence : spec.sequences) {
    absl::StrAppend(&text, ", sequence of ", sequence.length, " split ", sequence.split);
    if (sequence.visible_end != INT32_MAX)
      absl::StrAppend(&text, " visible ", sequence.visible_end);
  }
  return text;
}

KvSpec KvOf(const AttentionSpec& spec) {
  return {spec.dtype,           spec.kv_heads,  spec.head_dim,
          spec.tokens_per_page, spec.sequences, spec.rows};
}

constexpr double kBf16Epsilon = 0x1p-9;  // as kEpsilon
constexpr float kLog2E = 1.44269504088896340736f;

// positions and table_of_row of rows [begin, end).
struct RowArrays {
  RowArrays(const std::vector<RowSpec>& rows, int begin, int end) {
    for (int r = begin; r < end; ++r) {
      positions.push_back(rows[static_cast<size_t>(r)].position);
      tables.push_back(rows[static_cast<size_t>(r)].sequence);
    }
  }
  std::vector<int32_t> positions;
  std::vector<int32_t> tables;
};

class AttentionCase final : public OpCase {
 public:
  explicit AttentionCase(const AttentionSpec& spec)
      : spec_(spec),
        kv_(KvOf(spec), 61),
        q_(Gaussian(spec.rows.size() * static_cast<size_t>(spec.heads * spec.head_dim), 63)) {
    if (!spec.rounded_q) return;
    // Kernels fold the scale and the step from e to 2 into the query before they round it.
    const float factor = Scale() * kLog2E;
    for (float& q : q_) q *= factor;
    q_ = Rounded(q_, DType::kBf16);
    for (float& q : q_) q /= factor;
  }

  std::string Describe() const override {
    return absl::StrCat("attention heads ", spec_.heads, ", window ", spec_.window, ", sinks ",
                        spec_.sinks, ", decode rows ", spec_.decode_rows,
                        spec_.nodiag ? ", nodiag, " : ", ", DescribeKv(KvOf(spec_)));
  }
  int rows() const override { return static_cast<int>(spec_.rows.size()); }

  OpOutcome Run(Backend& backend, int begin, int end) const override {
    const KvMemory memory(backend, KvOf(spec_), &kv_, kNanFill);
    const RowArrays rows(spec_.rows, begin, end);
    const int row_size = spec_.heads * spec_.head_dim;
    const std::vector<float> q(q_.begin() + int64_t{begin} * row_size,
                               q_.begin() + int64_t{end} * row_size);
    const DeviceArray device_q(backend, q);
    const DeviceArray positions(backend, rows.positions);
    const DeviceArray tables(backend, rows.tables);
    const GuardedOutput out(backend, std::vector<float>(q.size(), 7.0f),
                            backend.activation_dtype());
    const auto last = std::max_element(rows.positions.begin(), rows.positions.end());
    backend.Attention({.q = device_q.as<float>(),
                       .positions = positions.as<int32_t>(),
                       .table_of_row = tables.as<int32_t>(),
                       .tables = memory.tables(),
                       .shape = memory.shape(),
                       .dtype = spec_.dtype,
                       .rows = end - begin,
                       .heads = spec_.heads,
                       .window = spec_.window,
                       .nodiag = spec_.nodiag,
                       .scale = Scale(),
                       .max_position = last == rows.positions.end() ? 0 : *last,
                       .out = out.activations(),
                       .sinks = spec_.sinks,
                       .decode_rows = std::min(spec_.decode_rows, end - begin)});
    OpOutcome outcome;
    outcome.values = out.Read(&outcome.stray_write);
    return outcome;
  }

  // A score is off by e <= (head_dim + 2) roundings of scale |q| |k|, a weight then by a factor of
  // exp(+-2 e), and the sums over the positions add a rounding each: all relative to the largest
  // value. Where activations are bf16, so may be the weights (not their sum) and the scaled query,
  // whose rounding moves a score by half a unit of its last place relative to |q| |k|.
  std::vector<float> Tolerance() const override {
    std::vector<float> tolerance;
    const auto dim = static_cast<size_t>(spec_.head_dim);
    const int group = spec_.heads / spec_.kv_heads;
    for (size_t r = 0; r < spec_.rows.size(); ++r) {
      const auto [sequence, position] = spec_.rows[r];
      const int last =
          std::min(position, spec_.sequences[static_cast<size_t>(sequence)].length - 1);
      for (int h = 0; h < spec_.heads; ++h) {
        const double q = Norm(
            q_.data() + (r * static_cast<size_t>(spec_.heads) + static_cast<size_t>(h)) * dim, dim);
        double k = 0;
        double v = 0;
        for (int j = 0; j <= last; ++j) {
          k = std::max(k, Norm(kv_.key(sequence, j, h / group), dim));
          v = std::max(v, Largest(kv_.value(sequence, j, h / group), dim));
        }
        const double score = static_cast<double>(Scale()) * q * k;
        const double roundings = 2 * (spec_.head_dim + 2) * score + 2 * (last + 1) + 16;
        double error = roundings * kEpsilon + RoundingOf(spec_.activations);
        if (spec_.activations == DType::kBf16 && spec_.dtype == DType::kBf16) {
          error += kBf16Epsilon;
          if (!spec_.rounded_q) error += std::expm1(2 * kBf16Epsilon * score);
        }
        tolerance.insert(tolerance.end(), dim, static_cast<float>(error * v));
      }
    }
    return tolerance;
  }

 private:
  float Scale() const { return 1.0f / std::sqrt(static_cast<float>(spec_.head_dim)); }

  const AttentionSpec spec_;
  const KvValues kv_;
  std::vector<float> q_;
};

class StoreKvCase final : public OpCase {
 public:
  StoreKvCase(const KvSpec& spec, bool rotated, bool looked_up)
      : spec_(spec),
        rotated_(rotated),
        looked_up_(looked_up),
        k_(Gaussian(Size(), 71)),
        v_(Gaussian(Size(), 72)) {
    if (rotated) return;
    // Ties of bf16 and f16 (even and odd), the edges of their ranges, numbers too small for them,
    // and NaN.
    constexpr float kSpecial[] = {0x1.01p0f,
                                  0x1.03p0f,
                                  0x1.002p0f,
                                  0x1.006p0f,
                                  65519.0f,
                                  65520.0f,
                                  1e38f,
                                  3.4e38f,
                                  0x1p-14f,
                                  0x1.ffcp-15f,
                                  0x1p-25f,
                                  0x1.8p-24f,
                                  0x1p-26f,
                                  -0.0f,
                                  1e-42f,
                                  std::numeric_limits<float>::infinity(),
                                  std::numeric_limits<float>::quiet_NaN()};
    for (size_t i = 0; i < k_.size(); i += 3) k_[i] = kSpecial[i / 3 % std::size(kSpecial)];
  }

  std::string Describe() const override {
    return absl::StrCat(rotated_ ? "rotated " : "", looked_up_ ? "looked up " : "", "store_kv ",
                        DescribeKv(spec_));
  }
  int rows() const override { return static_cast<int>(spec_.rows.size()); }

  OpOutcome Run(Backend& backend, int begin, int end) const override {
    const KvMemory memory(backend, spec_, nullptr, kFiniteFill);
    const RowArrays rows(spec_.rows, begin, end);
    const int64_t row_size = int64_t{spec_.kv_heads} * spec_.head_dim;
    // Looked up: all rows, the last one first.
    std::vector<int32_t> source_rows;
    for (int r = begin; looked_up_ && r < end; ++r) source_rows.push_back(this->rows() - 1 - r);
    const auto slice = [&](const std::vector<float>& all) {
      if (!looked_up_) {
        return std::vector<float>(all.begin() + begin * row_size, all.begin() + end * row_size);
      }
      std::vector<float> reversed;
      for (int64_t r = this->rows() - 1; r >= 0; --r) {
        reversed.insert(reversed.end(), all.begin() + r * row_size,
                        all.begin() + (r + 1) * row_size);
      }
      return reversed;
    };
    const DeviceArray k(backend, slice(k_));
    const DeviceArray v(backend, slice(v_));
    const DeviceArray source(backend, source_rows);
    const DeviceArray positions(backend, rows.positions);
    const DeviceArray tables(backend, rows.tables);
    const DeviceArray cos_sin(backend, RotaryTable(kPositions, spec_.head_dim));
    RopeAndStoreParams params;
    if (rotated_) params.cos_sin = cos_sin.as<float>();
    params.kv = {.k = k.as<float>(),
                 .v = v.as<float>(),
                 .source = looked_up_ ? source.as<int32_t>() : nullptr,
                 .positions = positions.as<int32_t>(),
                 .table_of_row = tables.as<int32_t>(),
                 .tables = memory.tables(),
                 .shape = memory.shape(),
                 .dtype = spec_.dtype,
                 .rows = end - begin};
    backend.RopeAndStore(params);
    OpOutcome outcome;
    outcome.values = memory.ReadRows({spec_.rows.begin() + begin, spec_.rows.begin() + end},
                                     &outcome.stray_write);
    return outcome;
  }

  // V, and K that is not rotated: the same bits. A rotation is two products and a sum, whose terms
  // are at most the pair's norm; where that crosses the middle between two stored values, the
  // result is one of them apart.
  std::vector<float> Tolerance() const override {
    std::vector<float> tolerance(2 * Size(), 0.0f);
    if (!rotated_) return tolerance;
    const auto dim = static_cast<size_t>(spec_.head_dim);
    for (size_t i = 0; i < Size(); ++i) {
      const size_t first = i / dim * dim + i % (dim / 2);
      const float pair[2] = {k_[first], k_[first + dim / 2]};
      // Values as ReadRows orders them: K and V of a head by turns.
      tolerance[2 * (i / dim) * dim + i % dim] =
          static_cast<float>((3 * kEpsilon + Step(spec_.dtype)) * Norm(pair, 2));
    }
    return tolerance;
  }

 private:
  static constexpr int kPositions = 150;  // more than any case has

  size_t Size() const {
    return spec_.rows.size() * static_cast<size_t>(spec_.kv_heads * spec_.head_dim);
  }
  // From one stored value to the next, relative to it.
  static double Step(DType dtype) {
    if (dtype == DType::kF32) return 0;
    return dtype == DType::kF16 ? 0x1p-10 : 0x1p-7;
  }

  const KvSpec spec_;
  const bool rotated_;
  const bool looked_up_;
  std::vector<float> k_;
  const std::vector<float> v_;
};

class KvChangeCase final : public OpCase {
 public:
  explicit KvChangeCase(const KvSpec& spec)
      : spec_(spec), previous_(spec, 81), current_(previous_) {
    // Row r changes by about 2^-r of its size; every fifth row stays as it is.
    for (size_t r = 0; r < spec.rows.size(); ++r) {
      if (r % 5 == 4) continue;
      for (int h = 0; h < spec.kv_heads; ++h) {
        float* key = current_.mutable_key(spec.rows[r].sequence, spec.rows[r].position, h);
        for (int i = 0; i < spec.head_dim; ++i)
          key[i] += std::ldexp(key[i], -static_cast<int>(r % 7));
      }
    }
    current_.Round();
  }

  std::string Describe() const override { return absl::StrCat("kv_change ", DescribeKv(spec_)); }
  int rows() const override { return static_cast<int>(spec_.rows.size()); }

  OpOutcome Run(Backend& backend, int begin, int end) const override {
    const KvMemory previous(backend, spec_, &previous_, kNanFill);
    const KvMemory current(backend, spec_, &current_, kNanFill);
    const RowArrays rows(spec_.rows, begin, end);
    const DeviceArray positions(backend, rows.positions);
    const DeviceArray tables(backend, rows.tables);
    const GuardedOutput out(backend, std::vector<float>(static_cast<size_t>(end - begin), 7.0f));
    backend.KvChange({.positions = positions.as<int32_t>(),
                      .table_of_row = tables.as<int32_t>(),
                      .previous = previous.tables(),
                      .current = current.tables(),
                      .shape = current.shape(),
                      .dtype = spec_.dtype,
                      .rows = end - begin,
                      .out = out.data()});
    OpOutcome outcome;
    outcome.values = out.Read(&outcome.stray_write);
    return outcome;
  }

  // Two sums of squares (no cancellation) of 2 kv_heads head_dim terms; a value is below 2.
  std::vector<float> Tolerance() const override {
    const float terms = static_cast<float>(2 * spec_.kv_heads * spec_.head_dim);
    return std::vector<float>(spec_.rows.size(), (terms + 8) * kEpsilon * 2);
  }

 private:
  const KvSpec spec_;
  const KvValues previous_;
  KvValues current_;
};

}  // namespace

std::unique_ptr<OpCase> MakeAttentionCase(const AttentionSpec& spec) {
  return std::make_unique<AttentionCase>(spec);
}
std::unique_ptr<OpCase> MakeStoreKvCase(const KvSpec& spec, bool rotated, bool looked_up) {
  return std::make_unique<StoreKvCase>(spec, rotated, looked_up);
}
std::unique_ptr<OpCase> MakeKvChangeCase(const KvSpec& spec) {
  return std::make_unique<KvChangeCase>(spec);
}

}  // namespace lckv::testing
