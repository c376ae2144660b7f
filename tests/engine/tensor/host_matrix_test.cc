#include "engine/tensor/host_matrix.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

namespace lckv {
namespace {

// One row, at an odd address: files promise no alignment.
class UnalignedRow {
 public:
  explicit UnalignedRow(const std::vector<uint8_t>& bytes) : storage_(bytes.size() + 1) {
    std::memcpy(storage_.data() + 1, bytes.data(), bytes.size());
  }
  std::vector<float> Dequantize(DType dtype, int64_t cols) const {
    std::vector<float> out(static_cast<size_t>(cols));
    DequantizeRow(HostMatrix{storage_.data() + 1, dtype, 1, cols}, 0, out.data());
    return out;
  }

 private:
  std::vector<uint8_t> storage_;
};

TEST(DequantizeTest, PlainFormats) {
  EXPECT_THAT(
      UnalignedRow({0x00, 0x00, 0x80, 0x3F, 0x00, 0x00, 0x20, 0xC0}).Dequantize(DType::kF32, 2),
      ::testing::ElementsAre(1.0f, -2.5f));
  EXPECT_THAT(UnalignedRow({0x00, 0x3C, 0x00, 0xC1, 0x01, 0x00}).Dequantize(DType::kF16, 3),
              ::testing::ElementsAre(1.0f, -2.5f, std::ldexp(1.0f, -24)));
  EXPECT_THAT(UnalignedRow({0x80, 0x3F, 0x20, 0xC0}).Dequantize(DType::kBf16, 2),
              ::testing::ElementsAre(1.0f, -2.5f));
}

TEST(DequantizeTest, Q8_0Block) {
  std::vector<uint8_t> block = {0x00, 0x38};  // d = 0.5
  for (int i = 0; i < 32; ++i) block.push_back(static_cast<uint8_t>(i * 8 - 128));
  const std::vector<float> values = UnalignedRow(block).Dequantize(DType::kQ8_0, 32);
  for (int i = 0; i < 32; ++i) EXPECT_EQ(values[i], 0.5f * static_cast<float>(i * 8 - 128)) << i;
}

TEST(DequantizeTest, Q4_1Block) {
  std::vector<uint8_t> block = {0x00, 0x40, 0x00, 0xC2};  // d = 2, m = -3
  for (int i = 0; i < 16; ++i) block.push_back(static_cast<uint8_t>(i | ((15 - i) << 4)));
  const std::vector<float> values = UnalignedRow(block).Dequantize(DType::kQ4_1, 32);
  for (int i = 0; i < 16; ++i) {
    EXPECT_EQ(values[i], 2.0f * static_cast<float>(i) - 3.0f) << i;
    EXPECT_EQ(values[i + 16], 2.0f * static_cast<float>(15 - i) - 3.0f) << i;
  }
}

TEST(DequantizeTest, RowFormats) {
  // d = 0.5
  EXPECT_THAT(UnalignedRow({0, 0, 0, 0x3F, 1, 0x81, 0}).Dequantize(DType::kI8, 3),
              ::testing::ElementsAre(0.5f, -63.5f, 0.0f));
  // 1.0, -448, the smallest, 1.75
  EXPECT_THAT(UnalignedRow({0, 0, 0, 0x3F, 0x38, 0xFE, 0x01, 0x3E}).Dequantize(DType::kFp8, 4),
              ::testing::ElementsAre(0.5f, -224.0f, std::ldexp(1.0f, -10), 0.875f));
}

TEST(QuantizeTest, RowFormatsHaveOneScale) {
  const std::vector<float> values = {0.1f, -2.54f, 1.0f, 0.0f, 2.54f};
  std::vector<uint8_t> row(static_cast<size_t>(BytesOf(DType::kI8, 5)));
  EXPECT_EQ(row.size(), 9u);
  QuantizeRow(values.data(), 5, DType::kI8, row.data());
  EXPECT_THAT(std::vector<uint8_t>(row.begin() + 4, row.end()),
              ::testing::ElementsAre(5, 0x81, 50, 0, 127));
  QuantizeRow(values.data(), 5, DType::kFp8, row.data());
  EXPECT_EQ(row[5], 0xFE);  // -448
  EXPECT_EQ(row[8], 0x7E);
  const std::vector<float> zeros(5, 0.0f);
  for (const DType dtype : {DType::kI8, DType::kFp8}) {
    QuantizeRow(zeros.data(), 5, dtype, row.data());
    EXPECT_EQ(UnalignedRow(row).Dequantize(dtype, 5), zeros);
  }
}

TEST(E4m3Test, EveryValueComesBack) {
  for (int bits = 0; bits < 256; ++bits) {
    const float value = E4m3ToF32(static_cast<uint8_t>(bits));
    if ((bits & 0x7F) == 0x7F) {
      EXPECT_TRUE(std::isnan(value));
    } else {
      EXPECT_EQ(F32ToE4m3(value), bits) << value;
    }
  }
}

TEST(E4m3Test, RoundsToTheNearestAndSaturates) {
  // The middle between neighbours goes to the even one, what is beside it to the nearer.
  for (int bits = 0; bits < 0x7E; ++bits) {
    const float low = E4m3ToF32(static_cast<uint8_t>(bits));
    const float high = E4m3ToF32(static_cast<uint8_t>(bits + 1));
    const float middle = (low + high) / 2;
    EXPECT_EQ(F32ToE4m3(middle), bits % 2 == 0 ? bits : bits + 1) << middle;
    EXPECT_EQ(F32ToE4m3(std::nextafter(middle, 0.0f)), bits) << middle;
    EXPECT_EQ(F32ToE4m3(std::nextafter(middle, 1e9f)), bits + 1) << middle;
  }
  for (const float value : {449.0f, 1e30f, std::numeric_limits<float>::infinity()}) {
    EXPECT_EQ(F32ToE4m3(value), 0x7E);
    EXPECT_EQ(F32ToE4m3(-value), 0xFE);
  }
  EXPECT_EQ(F32ToE4m3(std::nanf("")) & 0x7F, 0x7F);
}

TEST(DequantizeTest, RowsFollowEachOther) {
  std::vector<uint8_t> bytes;
  for (int row = 0; row < 3; ++row) {
    for (int block = 0; block < 2; ++block) {
      bytes.insert(bytes.end(), {0x00, 0x3C});  // d = 1
      bytes.insert(bytes.end(), 32, static_cast<uint8_t>(10 * row + block));
    }
  }
  std::vector<float> out(64);
  DequantizeRow(HostMatrix{bytes.data(), DType::kQ8_0, 3, 64}, 2, out.data());
  EXPECT_EQ(out[0], 20);
  EXPECT_EQ(out[63], 21);
}

TEST(QuantizeTest, ErrorIsWithinHalfAStep) {
  std::mt19937 random(1);
  std::vector<float> values(256);
  for (float& value : values) value = static_cast<float>(random()) / 4294967296.0f * 6 - 2;
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBf16, DType::kQ8_0, DType::kQ4_1}) {
    std::vector<uint8_t> bytes(static_cast<size_t>(BytesOf(dtype, 256)));
    QuantizeRow(values.data(), 256, dtype, bytes.data());
    const std::vector<float> back = UnalignedRow(bytes).Dequantize(dtype, 256);
    // Half a step of each format for values below 4, plus the rounding of the blocks' f16 scales.
    const float tolerance = dtype == DType::kF32    ? 0
                            : dtype == DType::kF16  ? 4 * 0x1p-12f
                            : dtype == DType::kBf16 ? 4 * 0x1p-9f
                            : dtype == DType::kQ8_0 ? 4.0f / 127 * 0.5f + 4 * 0x1p-11f
                                                    : 6.0f / 15 * 0.5f + 8 * 0x1p-11f;
    for (size_t i = 0; i < values.size(); ++i) {
      EXPECT_LE(std::abs(values[i] - back[i]), tolerance) << Name(dtype) << " " << i;
    }
  }
}

TEST(QuantizeTest, ConstantBlocks) {
  for (const DType dtype : {DType::kQ8_0, DType::kQ4_1}) {
    std::vector<uint8_t> bytes(static_cast<size_t>(BytesOf(dtype, 32)));
    for (const float constant : {0.0f, 0.5f, -2.0f}) {
      const std::vector<float> values(32, constant);
      QuantizeRow(values.data(), 32, dtype, bytes.data());
      const std::vector<float> back = UnalignedRow(bytes).Dequantize(dtype, 32);
      for (const float value : back) EXPECT_NEAR(value, constant, 2e-3) << Name(dtype);
    }
  }
}

TEST(DTypeTest, NamesAndSizes) {
  struct Case {
    DType dtype;
    const char* name;
    int64_t bytes_of_64;
  };
  for (const Case& c : {Case{DType::kF32, "f32", 256}, Case{DType::kF16, "f16", 128},
                        Case{DType::kBf16, "bf16", 128}, Case{DType::kQ8_0, "q8_0", 68},
                        Case{DType::kQ4_1, "q4_1", 40}}) {
    EXPECT_EQ(Name(c.dtype), c.name);
    EXPECT_EQ(*ParseDType(c.name), c.dtype);
    EXPECT_EQ(BytesOf(c.dtype, 64), c.bytes_of_64);
  }
  EXPECT_FALSE(ParseDType("F32").ok());
  EXPECT_FALSE(ParseDType("").ok());
}

TEST(DTypeTest, EveryHalfSurvivesTheRoundTrip) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    const float f16 = F16ToF32(half);
    const float bf16 = Bf16ToF32(half);
    if (std::isnan(f16)) {
      EXPECT_TRUE(std::isnan(F16ToF32(F32ToF16(f16))));
    } else {
      ASSERT_EQ(F32ToF16(f16), half);
    }
    if (std::isnan(bf16)) {
      EXPECT_TRUE(std::isnan(Bf16ToF32(F32ToBf16(bf16))));
    } else {
      ASSERT_EQ(F32ToBf16(bf16), half);
    }
  }
}

TEST(DTypeTest, RoundsToNearestEven) {
  // f16: 11 significant bits; bf16: 8.
  EXPECT_EQ(F32ToF16(1 + 0x1p-11f), 0x3C00);
  EXPECT_EQ(F32ToF16(1 + 0x1.8p-10f), 0x3C02);
  EXPECT_EQ(F32ToF16(0x1.002002p+0f), 0x3C01);
  EXPECT_EQ(F32ToF16(65519.0f), 0x7BFF);
  EXPECT_EQ(F32ToF16(65520.0f), 0x7C00);
  EXPECT_EQ(F32ToF16(-1e10f), 0xFC00);
  EXPECT_EQ(F32ToF16(0x1p-25f), 0x0000);
  EXPECT_EQ(F32ToF16(0x1.000002p-25f), 0x0001);
  EXPECT_EQ(F32ToF16(0x1.ffep-15f), 0x0400);  // rounds up into the normal numbers
  EXPECT_EQ(F32ToBf16(1 + 0x1p-8f), 0x3F80);
  EXPECT_EQ(F32ToBf16(1 + 0x1.8p-7f), 0x3F82);
  EXPECT_EQ(F32ToBf16(std::numeric_limits<float>::max()), 0x7F80);
}

}  // namespace
}  // namespace lckv
