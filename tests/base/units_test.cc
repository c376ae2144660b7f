#include "base/units.h"

#include <gtest/gtest.h>

#include "tests/testing/status_matchers.h"

namespace lckv {
namespace {

TEST(UnitsTest, ParsesSizes) {
  const struct {
    const char* text;
    int64_t bytes;
  } cases[] = {
      {"0", 0},
      {"4096", 4096},
      {"17B", 17},
      {"1KiB", 1024},
      {"64MiB", int64_t{64} << 20},
      {"1.5GiB", int64_t{3} << 29},
      {"2TiB", int64_t{2} << 40},
      {"10kB", 10'000},
      {"3MB", 3'000'000},
      {"80GB", 80'000'000'000},
      {"1TB", 1'000'000'000'000},
      {"4194304TiB", int64_t{1} << 62},
  };
  for (const auto& c : cases) {
    ASSERT_OK_AND_ASSIGN(const int64_t bytes, ParseBytes(c.text));
    EXPECT_EQ(bytes, c.bytes) << c.text;
  }
}

TEST(UnitsTest, RefusesWhatIsNoSize) {
  for (const char* text : {"", "B", "MiB", "-1", "-1KiB", "1XB", "1Ki", "KiB1", "1KiBB", "nan",
                           "inf", "infMiB", "1e300", "4194305TiB", "one"}) {
    EXPECT_THAT(ParseBytes(text), testing::StatusIs(absl::StatusCode::kInvalidArgument)) << text;
  }
}

TEST(UnitsTest, FormatsWithThreeDigits) {
  const struct {
    int64_t bytes;
    const char* text;
  } cases[] = {{0, "0 B"},
               {999, "999 B"},
               {1000, "1000 B"},
               {1023, "1023 B"},
               {1024, "1 KiB"},
               {1536, "1.5 KiB"},
               {1023 * 1024, "1023 KiB"},
               {int64_t{64} << 20, "64 MiB"},
               {int64_t{12} << 40, "12 TiB"},
               {int64_t{5000} << 40, "5000 TiB"}};
  for (const auto& c : cases) EXPECT_EQ(FormatBytes(c.bytes), c.text);
}

TEST(UnitsTest, RoundsUp) {
  const struct {
    int64_t value, multiple, quotient, rounded;
  } cases[] = {{0, 4096, 0, 0},       {1, 4096, 1, 4096},    {4095, 4096, 1, 4096},
               {4096, 4096, 1, 4096}, {4097, 4096, 2, 8192}, {7, 1, 7, 7}};
  for (const auto& c : cases) {
    EXPECT_EQ(CeilDiv(c.value, c.multiple), c.quotient);
    EXPECT_EQ(RoundUp(c.value, c.multiple), c.rounded);
  }
}

}  // namespace
}  // namespace lckv
