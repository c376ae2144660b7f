#include "engine/ops/bandwidth_pacer.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace lckv {
namespace {

struct Transfer {
  int64_t asked_ms;
  int64_t bytes;
  int64_t start_ms;
};
struct Case {
  std::string name;
  int64_t bytes_per_second;
  std::vector<Transfer> transfers;
};

TEST(BandwidthPacerTest, Table) {
  const Case cases[] = {
      {"no limit", 0, {{0, 1 << 30, 0}, {0, 1 << 30, 0}, {5, 1, 5}}},
      {"a negative limit is none", -1, {{0, 1 << 30, 0}, {0, 1 << 30, 0}}},
      {"each starts when the one before ends", 1000, {{0, 500, 0}, {0, 250, 500}, {0, 1, 750}}},
      {"asked for in the middle", 1000, {{0, 500, 0}, {200, 500, 500}, {700, 500, 1000}}},
      {"nothing is saved up while idle", 1000, {{0, 100, 0}, {5000, 100, 5000}, {5000, 1, 5100}}},
      {"nothing costs nothing", 1000, {{0, 0, 0}, {0, 0, 0}, {0, 100, 0}, {0, 0, 100}}},
      {"time goes back", 1000, {{1000, 100, 1000}, {0, 100, 1100}}},
      {"pages of a large model", int64_t{1} << 30, {{0, 1 << 28, 0}, {0, 1 << 28, 250}}},
  };
  const absl::Time zero = absl::FromUnixSeconds(1000);
  for (const Case& test : cases) {
    BandwidthPacer pacer(test.bytes_per_second);
    for (const Transfer& transfer : test.transfers) {
      const absl::Time start =
          pacer.Start(zero + absl::Milliseconds(transfer.asked_ms), transfer.bytes);
      EXPECT_EQ(start - zero, absl::Milliseconds(transfer.start_ms)) << test.name;
    }
  }
}

}  // namespace
}  // namespace lckv
