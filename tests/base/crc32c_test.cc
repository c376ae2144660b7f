#include "base/crc32c.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <numeric>
#include <random>
#include <string>
#include <vector>

namespace lckv {
namespace {

using Bytes = std::vector<uint8_t>;

Bytes RandomBytes(size_t size) {
  std::mt19937 random(32);
  Bytes bytes(size);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
  return bytes;
}

TEST(Crc32cTest, VectorsOfRfc3720) {
  Bytes ascending(32);
  std::iota(ascending.begin(), ascending.end(), uint8_t{0});
  const Bytes descending(ascending.rbegin(), ascending.rend());
  const Bytes read_command = {0x01, 0xc0, 0, 0, 0, 0, 0,    0, 0,    0, 0, 0,    0, 0, 0, 0,
                              0x14, 0,    0, 0, 0, 0, 0x04, 0, 0,    0, 0, 0x14, 0, 0, 0, 0x18,
                              0x28, 0,    0, 0, 0, 0, 0,    0, 0x02, 0, 0, 0,    0, 0, 0, 0};
  const struct {
    Bytes bytes;
    uint32_t crc;
  } cases[] = {{{}, 0},
               {Bytes(32, 0x00), 0x8A9136AA},
               {Bytes(32, 0xFF), 0x62A8AB43},
               {ascending, 0x46DD794E},
               {descending, 0x113FDB5C},
               {read_command, 0xD9963A56}};
  for (const auto& c : cases) {
    EXPECT_EQ(Crc32c(c.bytes.data(), c.bytes.size()), c.crc);
    EXPECT_EQ(internal::ExtendCrc32cPortable(0, c.bytes.data(), c.bytes.size()), c.crc);
  }
}

TEST(Crc32cTest, TheInstructionAgreesWithTheTableForEveryLengthAndMisalignment) {
  constexpr size_t kLongest = 5000;
  constexpr size_t kMisalignments = 8;
  const Bytes bytes = RandomBytes(kLongest + kMisalignments);
  for (size_t offset = 0; offset < kMisalignments; ++offset) {
    const uint8_t* begin = bytes.data() + offset;
    uint32_t expected = 0;
    for (size_t length = 0; length <= kLongest; ++length) {
      ASSERT_EQ(Crc32c(begin, length), expected) << "length " << length << ", offset " << offset;
      expected = internal::ExtendCrc32cPortable(expected, begin + length, 1);
    }
  }
}

TEST(Crc32cTest, ExtendComposes) {
  const Bytes bytes = RandomBytes(9000);
  std::mt19937 random(1);
  for (int i = 0; i < 500; ++i) {
    const size_t length = random() % (bytes.size() + 1);
    const size_t cut = random() % (length + 1);
    const uint32_t first = Crc32c(bytes.data(), cut);
    const uint32_t whole = Crc32c(bytes.data(), length);
    EXPECT_EQ(ExtendCrc32c(first, bytes.data() + cut, length - cut), whole) << length << " " << cut;
    EXPECT_EQ(internal::ExtendCrc32cPortable(first, bytes.data() + cut, length - cut), whole);
  }
}

}  // namespace
}  // namespace lckv
