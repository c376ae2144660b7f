#include "engine/sampling/philox.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <set>

namespace lckv {
namespace {

using Counter = std::array<uint32_t, 4>;
using Key = std::array<uint32_t, 2>;

Counter Philox(const Counter& counter, const Key& key) {
  const PhiloxBlock block =
      Philox4x32({{counter[0], counter[1], counter[2], counter[3]}}, key[0], key[1]);
  return {block.words[0], block.words[1], block.words[2], block.words[3]};
}

// Known answers that the authors of Random123 publish for philox4x32 with 10 rounds.
TEST(PhiloxTest, KnownAnswers) {
  const struct {
    Counter counter;
    Key key;
    Counter output;
  } cases[] = {
      {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
      {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
       {0xffffffff, 0xffffffff},
       {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
      {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
       {0xa4093822, 0x299f31d0},
       {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
  };
  for (const auto& c : cases) EXPECT_EQ(Philox(c.counter, c.key), c.output);
}

// A contract: sessions continue on other workers, other releases included.
TEST(PhiloxTest, UniformIsTheFirst53BitsOfThePositionsBlock) {
  const uint64_t bits = (uint64_t{0x6627e8d5} << 32 | 0xe169c58d) >> 11;
  EXPECT_EQ(UniformBitsAt(0, 0), bits);
  const uint64_t seed = 0x123456789abcdef0, position = 0xfedcba9876543210;
  const Counter words = Philox({0x76543210, 0xfedcba98, 0, 0}, {0x9abcdef0, 0x12345678});
  const uint64_t other = (uint64_t{words[0]} << 32 | words[1]) >> 11;
  EXPECT_EQ(UniformBitsAt(seed, position), other);
}

TEST(PhiloxTest, UniformCoversTheUnitIntervalEvenly) {
  constexpr int kNumbers = 20'000, kBins = 20;
  std::array<int, kBins> bins{};
  std::set<uint64_t> distinct;
  for (uint64_t position = 0; position < kNumbers; ++position) {
    const uint64_t bits = UniformBitsAt(42, position);
    ASSERT_LT(bits, uint64_t{1} << 53);
    ++bins[static_cast<size_t>(static_cast<double>(bits) * 0x1p-53 * kBins)];
    distinct.insert(bits);
  }
  EXPECT_EQ(distinct.size(), size_t{kNumbers});
  const double mean = static_cast<double>(kNumbers) / kBins;
  for (int count : bins) EXPECT_NEAR(count, mean, 5 * std::sqrt(mean));
}

TEST(PhiloxTest, SeedsAndPositionsAreIndependent) {
  std::set<uint64_t> distinct;
  for (uint64_t seed = 0; seed < 64; ++seed) {
    for (uint64_t position = 0; position < 64; ++position) {
      distinct.insert(UniformBitsAt(seed, position));
      distinct.insert(UniformBitsAt(seed << 32, position << 32 | 1000));
    }
  }
  EXPECT_EQ(distinct.size(), size_t{2 * 64 * 64});
}

}  // namespace
}  // namespace lckv
