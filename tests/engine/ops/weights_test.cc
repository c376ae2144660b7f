#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "engine/ops/backend.h"
#include "engine/tensor/host_matrix.h"
#include "tests/testing/status_matchers.h"

namespace lckv {
namespace {

using ::lckv::testing::StatusIs;
using ::testing::HasSubstr;

constexpr DType kAll[] = {DType::kF32, DType::kF16, DType::kBf16, DType::kQ8_0, DType::kQ4_1};

class WeightsTest : public ::testing::TestWithParam<const char*> {
 protected:
  WeightsTest() {
    if (GetParam() == std::string("cpu")) {
      auto cpu = MakeCpuBackend({.num_threads = 2, .isa = ""});
      EXPECT_OK(cpu);
      backend_ = *std::move(cpu);
    } else {
      backend_ = MakeReferenceBackend();
    }
  }

  // Row `row` as the backend multiplies with it.
  std::vector<float> Restore(const LinearWeight& weight, int32_t row) {
    std::vector<float> out(static_cast<size_t>(weight.in_features()));
    backend_->Embed({&weight, &row, 1, out.data()});
    return out;
  }

  std::unique_ptr<Backend> backend_;
};

std::vector<float> Ramp(int64_t count) {
  std::vector<float> values;
  for (int64_t i = 0; i < count; ++i) {
    values.push_back(static_cast<float>(i * 37 % 101 - 50) / 16);
  }
  return values;
}

// From every format to every format, from memory that is not aligned: the same values as by way of
// QuantizeRow.
TEST_P(WeightsTest, ConvertsBetweenFormats) {
  constexpr int kRows = 19;
  constexpr int kCols = 64;
  const std::vector<float> values = Ramp(kRows * kCols);
  for (DType stored : kAll) {
    const auto row_bytes = static_cast<size_t>(BytesOf(stored, kCols));
    std::vector<uint8_t> memory(1 + kRows * row_bytes);
    for (int r = 0; r < kRows; ++r) {
      QuantizeRow(values.data() + r * kCols, kCols, stored,
                  memory.data() + 1 + static_cast<size_t>(r) * row_bytes);
    }
    const HostMatrix matrix = {memory.data() + 1, stored, kRows, kCols};
    for (DType format : kAll) {
      ASSERT_OK_AND_ASSIGN(const auto weight, backend_->PrepareLinear(matrix, format));
      EXPECT_EQ(weight->dtype(), format);
      EXPECT_EQ(weight->in_features(), kCols);
      EXPECT_EQ(weight->out_features(), kRows);
      EXPECT_GE(weight->size_bytes(), static_cast<size_t>(BytesOf(format, kRows * kCols)));
      for (int r : {0, 7, 15, 16, 18}) {
        std::vector<float> expected(kCols);
        DequantizeRow(matrix, r, expected.data());
        if (stored != format) {
          std::vector<uint8_t> row(static_cast<size_t>(BytesOf(format, kCols)));
          QuantizeRow(expected.data(), kCols, format, row.data());
          DequantizeRow({row.data(), format, 1, kCols}, 0, expected.data());
        }
        const std::vector<float> actual = Restore(*weight, r);
        for (size_t i = 0; i < kCols; ++i) {
          EXPECT_NEAR(actual[i], expected[i], 1e-6) << Name(stored) << " to " << Name(format);
        }
      }
    }
  }
}

TEST_P(WeightsTest, RefusesWhatDoesNotFit) {
  const std::vector<float> values = Ramp(100);
  const HostMatrix odd = {values.data(), DType::kF32, 1, 33};
  for (DType format : {DType::kQ8_0, DType::kQ4_1}) {
    EXPECT_THAT(backend_->PrepareLinear(odd, format),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("33")));
    EXPECT_THAT(backend_->PrepareLinear({values.data(), format, 1, 33}, DType::kF32),
                StatusIs(absl::StatusCode::kInvalidArgument));
  }
  EXPECT_OK(backend_->PrepareLinear(odd, DType::kBf16));
  const std::pair<int64_t, int64_t> shapes[] = {
      {0, 32}, {32, 0}, {-1, 32}, {32, -32}, {int64_t{1} << 31, 32}, {32, int64_t{1} << 40}};
  for (const auto& [rows, cols] : shapes) {
    EXPECT_THAT(backend_->PrepareLinear({values.data(), DType::kF32, rows, cols}, DType::kF32),
                StatusIs(absl::StatusCode::kInvalidArgument))
        << rows << " x " << cols;
  }
  EXPECT_THAT(backend_->PrepareLinear({nullptr, DType::kF32, 1, 32}, DType::kF32),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

// The CPU has no products with a scale for a whole row.
TEST(CpuWeightsTest, RefusesRowFormats) {
  ASSERT_OK_AND_ASSIGN(const auto cpu, MakeCpuBackend({.num_threads = 1, .isa = ""}));
  const std::vector<float> values = Ramp(64);
  for (DType format : {DType::kI8, DType::kFp8}) {
    EXPECT_THAT(cpu->PrepareLinear({values.data(), DType::kF32, 2, 32}, format),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(std::string(Name(format)))));
  }
}

// Both sides fit in int32, their product in no machine.
TEST_P(WeightsTest, RefusesMoreThanMemory) {
  const float value = 0;
  const int64_t most = (int64_t{1} << 31) - 32;
  EXPECT_FALSE(backend_->PrepareLinear({&value, DType::kF32, most, most}, DType::kF32).ok());
}

INSTANTIATE_TEST_SUITE_P(Backends, WeightsTest, ::testing::Values("reference", "cpu"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace lckv
