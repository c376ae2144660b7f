// The product of bf16 activations in engine/ops/cuda/linear_mma.cu, called directly on the
// simulated GPU, whose memory is that of the host. The weights' values are rounded to bf16
// beforehand as the kernel does, so that what is left to tolerate is the rounding of float32 sums.

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "engine/ops/cuda/kernels.h"
#include "engine/ops/cuda/weight_layout.h"
#include "engine/tensor/dtype.h"
#include "engine/tensor/host_matrix.h"
#include "tests/conformance/backend_checks.h"
#include "tests/conformance/case_data.h"
#include "tests/simt/executor.h"
#include "tests/testing/status_matchers.h"

namespace lckv::testing {
namespace {

constexpr DType kFormats[] = {DType::kQ4_1, DType::kQ8_0, DType::kBf16};

float Rounded(float value) { return Bf16ToF32(F32ToBf16(value)); }

// Activations, `offset_bytes` behind a multiple of 64.
class DeviceInputs {
 public:
  DeviceInputs(Backend& backend, const std::vector<uint16_t>& values, size_t offset_bytes)
      : offset_bytes_(offset_bytes) {
    const size_t size_bytes = values.size() * sizeof(uint16_t);
    auto buffer = backend.Allocate(offset_bytes + size_bytes);
    LCKV_CHECK(buffer.ok());
    buffer_ = *std::move(buffer);
    backend.CopyToDevice(buffer_.bytes() + offset_bytes, values.data(), size_bytes);
  }
  Activations get() const { return {buffer_.bytes() + offset_bytes_, DType::kBf16}; }

 private:
  size_t offset_bytes_;
  DeviceBuffer buffer_;
};

struct RunOptions {
  int begin = 0;  // rows
  int end = 1;
  bool bias = false;
  bool accumulate = false;
  size_t offset_bytes = 0;  // of the inputs
};

// A weight, laid out as on a GPU, with inputs for up to `rows` rows.
class Product {
 public:
  Product(Backend& backend, DType dtype, int out_features, int in_features, int rows)
      : backend_(backend),
        dtype_(dtype),
        outputs_(out_features),
        inputs_(in_features),
        rows_(rows),
        values_(Size(out_features, in_features)),
        bias_(Gaussian(Size(1, out_features), 23)),
        residual_(Gaussian(Size(rows, out_features), 24)) {
    const int64_t row_bytes = BytesOf(dtype, in_features);
    std::vector<uint8_t> stored(static_cast<size_t>(row_bytes) * Size(1, out_features));
    const std::vector<float> original = Gaussian(values_.size(), 21);
    const HostMatrix matrix = {stored.data(), dtype, out_features, in_features};
    for (int o = 0; o < out_features; ++o) {
      QuantizeRow(original.data() + At(o, in_features), in_features, dtype,
                  stored.data() + o * row_bytes);
      DequantizeRow(matrix, o, values_.data() + At(o, in_features));
    }
    for (float& value : values_) value = Rounded(value);
    for (float value : Gaussian(Size(rows, in_features), 22)) x_.push_back(F32ToBf16(value));
    const int64_t bytes = gpu::StoredRows(dtype, out_features) * gpu::RowBytes(dtype, in_features);
    auto buffer = backend.Allocate(static_cast<size_t>(bytes));
    LCKV_CHECK(buffer.ok());
    weight_ = *std::move(buffer);
    for (int o = 0; o < out_features; ++o) {
      gpu::LayOutRow(dtype, in_features, o, stored.data() + o * row_bytes, weight_.bytes());
    }
  }

  std::string Describe(const RunOptions& options) const {
    return absl::StrCat(Name(dtype_), " [", outputs_, "][", inputs_, "] rows ", options.begin,
                        " to ", options.end, options.bias ? " bias" : "",
                        options.accumulate ? " accumulate" : "", " at byte ", options.offset_bytes);
  }
  int outputs() const { return outputs_; }
  void SetInput(int row, int i, float value) { x_[At(row, inputs_) + i] = F32ToBf16(value); }

  std::vector<float> Run(const RunOptions& options) const {
    const DeviceInputs x(backend_,
                         {x_.begin() + static_cast<ptrdiff_t>(At(options.begin, inputs_)),
                          x_.begin() + static_cast<ptrdiff_t>(At(options.end, inputs_))},
                         options.offset_bytes);
    const DeviceArray bias(backend_, bias_);
    const GuardedOutput out(
        backend_, {residual_.begin() + static_cast<ptrdiff_t>(At(options.begin, outputs_)),
                   residual_.begin() + static_cast<ptrdiff_t>(At(options.end, outputs_))});
    gpu::LinearArgs args = {};
    args.weight.data = weight_.data();
    args.weight.dtype = dtype_;
    args.weight.in_features = inputs_;
    args.weight.out_features = outputs_;
    args.weight.row_bytes = gpu::RowBytes(dtype_, inputs_);
    args.x = x.get();
    args.bias = options.bias ? bias.as<float>() : nullptr;
    args.rows = options.end - options.begin;
    args.accumulate = options.accumulate;
    args.out = out.data();
    EXPECT_EQ(gpu::LaunchLinearMma(args, nullptr), 0) << simt::LastError();
    std::string stray_write;
    std::vector<float> values = out.Read(&stray_write);
    EXPECT_EQ(stray_write, "") << Describe(options);
    return values;
  }

  // Against sums in double precision. Each addition in float32, of which there is one for every 16
  // inputs and a few at the end, is off by less than a few units in the last place of the sum of
  // magnitudes: tensor cores need not round to nearest.
  void ExpectClose(const RunOptions& options) const {
    const std::vector<float> actual = Run(options);
    const double unit = (inputs_ / 16 + 12) * std::ldexp(1.0, -22);
    for (int r = options.begin; r < options.end; ++r) {
      for (int o = 0; o < outputs_; ++o) {
        const double bias = options.bias ? bias_[At(o, 1)] : 0;
        const double residual = options.accumulate ? residual_[At(r, outputs_) + o] : 0;
        double sum = bias + residual;
        double magnitude = std::abs(bias) + std::abs(residual);
        for (int i = 0; i < inputs_; ++i) {
          const double term =
              static_cast<double>(values_[At(o, inputs_) + i]) * Bf16ToF32(x_[At(r, inputs_) + i]);
          sum += term;
          magnitude += std::abs(term);
        }
        const double value = actual[At(r - options.begin, outputs_) + o];
        ASSERT_NEAR(value, sum, unit * magnitude)
            << Describe(options) << ", row " << r << " output " << o;
      }
    }
  }

 private:
  static size_t Size(int rows, int features) {
    return static_cast<size_t>(rows) * static_cast<size_t>(features);
  }
  struct Index {
    size_t value;
    operator size_t() const { return value; }
    size_t operator+(int i) const { return value + static_cast<size_t>(i); }
  };
  static Index At(int row, int features) { return {Size(row, features)}; }

  Backend& backend_;
  const DType dtype_;
  const int outputs_;
  const int inputs_;
  const int rows_;
  std::vector<float> values_;  // [outputs][inputs]
  std::vector<uint16_t> x_;    // [rows][inputs]
  const std::vector<float> bias_;
  const std::vector<float> residual_;  // [rows][outputs]: what the output holds before
  DeviceBuffer weight_;
};

class LinearMmaTest : public ::testing::Test {
 protected:
  void SetUp() override { simt::ClearError(); }
  void TearDown() override { EXPECT_EQ(simt::LastError(), ""); }
  // Products of the first rows; bias and accumulation take turns.
  void ExpectClose(DType dtype, int out_features, int in_features,
                   const std::vector<int>& row_counts) {
    int largest = 0;
    for (int rows : row_counts) largest = std::max(largest, rows);
    const Product product(*backend_, dtype, out_features, in_features, largest);
    for (int rows : row_counts) {
      product.ExpectClose({.end = rows, .bias = turn_ % 2 == 0, .accumulate = turn_ / 2 % 2 == 0});
      ++turn_;
    }
  }

  const std::unique_ptr<Backend> backend_ = MakeReferenceBackend();  // host memory
  int turn_ = 0;
};

std::vector<int> RowCounts() {
  std::vector<int> counts;
  for (int rows = 1; rows <= 17; ++rows) counts.push_back(rows);
  for (int rows : {31, 33, 64, 65, 130}) counts.push_back(rows);
  return counts;
}

TEST_F(LinearMmaTest, AnyNumberOfRows) {
  for (DType dtype : kFormats) ExpectClose(dtype, 35, 96, RowCounts());
}

TEST_F(LinearMmaTest, AnyNumberOfOutputs) {
  const std::vector<int> row_counts = RowCounts();
  for (DType dtype : kFormats) {
    for (int outputs = 1; outputs <= 35; ++outputs) {
      ExpectClose(dtype, outputs, 64,
                  {row_counts[static_cast<size_t>(outputs) % row_counts.size()], 1});
    }
    for (int outputs : {64, 65, 200, 576}) ExpectClose(dtype, outputs, 96, {1, 9, 17});
  }
}

TEST_F(LinearMmaTest, AnyNumberOfInputs) {
  for (DType dtype : kFormats) {
    for (int inputs : {32, 64, 96, 288, 544, 576, 1536}) ExpectClose(dtype, 64, inputs, {1, 9, 33});
  }
  for (int inputs : {1, 2, 7, 8, 9, 24, 31, 33, 63, 65, 100, 263}) {
    ExpectClose(DType::kBf16, 20, inputs, {1, 5, 17});
  }
}

// Where a row lies in memory and in a tile, how many others there are and what they hold.
TEST_F(LinearMmaTest, BatchDoesNotChangeBits) {
  constexpr int kRows = 256;
  for (DType dtype : kFormats) {
    Product product(*backend_, dtype, 35, 608, kRows);
    const std::vector<float> all = product.Run({.end = kRows, .bias = true, .accumulate = true});
    const auto expect_same = [&](int begin, int end, size_t offset_bytes) {
      const RunOptions options = {begin, end, true, true, offset_bytes};
      const auto first = all.begin() + begin * product.outputs();
      ExpectSameBits(product.Describe(options), {first, first + (end - begin) * product.outputs()},
                     product.Run(options));
    };
    for (int row = 0; row < 40; ++row) expect_same(row, row + 1, 0);
    for (int rows : RowCounts()) {
      for (int begin : {0, 3, 100}) expect_same(begin, begin + rows, 0);
    }
    // Every place in the tiles of 8, 16 and 32 rows.
    for (int begin = 1; begin < 8; ++begin) expect_same(begin, 8, 0);
    for (int begin = 1; begin < 16; ++begin) expect_same(begin, begin + 15, 0);
    for (int begin = 1; begin < 32; ++begin) expect_same(begin, begin + 32, 0);
    // Inputs that no vector load can take.
    for (size_t offset_bytes : {2, 8}) {
      expect_same(5, 6, offset_bytes);
      expect_same(0, 33, offset_bytes);
    }
    // Neighbours that are no numbers.
    product.SetInput(16, 3, std::numeric_limits<float>::quiet_NaN());
    product.SetInput(18, 5, std::numeric_limits<float>::infinity());
    const std::vector<float> some = product.Run({.end = 40, .bias = true, .accumulate = true});
    const auto row_of = [&](const std::vector<float>& values, int row) {
      const auto first = values.begin() + row * product.outputs();
      return std::vector<float>(first, first + product.outputs());
    };
    for (int row = 0; row < 40; ++row) {
      if (row == 16 || row == 18) continue;
      ExpectSameBits(absl::StrCat("row ", row), row_of(all, row), row_of(some, row));
    }
    EXPECT_TRUE(std::isnan(row_of(some, 16)[0]));
  }
}

TEST_F(LinearMmaTest, OrderOfThreadsDoesNotChangeBits) {
  for (DType dtype : kFormats) {
    const Product product(*backend_, dtype, 70, 1056, 17);
    for (int rows : {1, 9, 17}) {
      const RunOptions options = {.end = rows, .bias = true};
      const std::vector<float> expected = product.Run(options);
      for (uint64_t seed = 1; seed <= 5; ++seed) {
        simt::SetSeed(seed);
        ExpectSameBits(product.Describe(options), expected, product.Run(options));
      }
    }
  }
}

}  // namespace
}  // namespace lckv::testing
