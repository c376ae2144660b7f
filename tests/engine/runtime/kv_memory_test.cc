#include "engine/runtime/kv_memory.h"

#include <gtest/gtest.h>

#include <string>

#include "tests/testing/status_matchers.h"

namespace lckv {
namespace {

using ::testing::HasSubstr;
using testing::StatusIs;

constexpr int64_t kMiB = int64_t{1} << 20;

TEST(KvMemoryTest, IsRead) {
  EngineOptions options;
  EXPECT_OK(SetKvMemory("auto", &options));
  EXPECT_EQ(options.kv_memory, KvMemory::kAuto);
  EXPECT_EQ(options.kv_memory_bytes, 256 * kMiB);
  EXPECT_EQ(DescribeKvMemory(options), "auto");
  EXPECT_OK(SetKvMemory("85%", &options));
  EXPECT_EQ(options.kv_memory, KvMemory::kShare);
  EXPECT_DOUBLE_EQ(options.kv_memory_share, 0.85);
  EXPECT_EQ(DescribeKvMemory(options), "85%");
  EXPECT_OK(SetKvMemory("100%", &options));
  EXPECT_EQ(options.kv_memory_share, 1.0);
  EXPECT_OK(SetKvMemory("4GiB", &options));
  EXPECT_EQ(options.kv_memory, KvMemory::kBytes);
  EXPECT_EQ(options.kv_memory_bytes, 4096 * kMiB);
  EXPECT_EQ(DescribeKvMemory(options), "4 GiB");
  for (const char* text : {"", "%", "0%", "101%", "-5%", "nan%", "5 %%", "Auto", "much", "-1"}) {
    EXPECT_THAT(SetKvMemory(text, &options), StatusIs(absl::StatusCode::kInvalidArgument)) << text;
  }
  EXPECT_EQ(options.kv_memory, KvMemory::kBytes);
  EXPECT_EQ(options.kv_memory_bytes, 4096 * kMiB);
}

struct Case {
  std::string text;
  int64_t free_bytes;  // -1: the device does not say
  int64_t context_pages;
  int64_t pages;  // of 1 MiB; or
  absl::StatusCode code = absl::StatusCode::kOk;
  std::string message = {};
};

TEST(KvMemoryTest, IsPlanned) {
  constexpr absl::StatusCode kInvalid = absl::StatusCode::kInvalidArgument;
  constexpr absl::StatusCode kExhausted = absl::StatusCode::kResourceExhausted;
  const Case cases[] = {
      {"64MiB", -1, 10, 64},
      {"64MiB", 64 * kMiB, 10, 64},
      {"64MiB", -1, 100, 64},  // such turns are refused
      {"64MiB", 63 * kMiB, 10, 0, kExhausted, "63 MiB free"},
      {"1000kB", -1, 1, 0, kInvalid, "pages of 1 MiB"},
      {"3000TB", -1, 1, 0, kInvalid, "pages of 1 MiB"},
      {"auto", -1, 10, 256},
      {"auto", 100 * kMiB, 10, 90},
      {"auto", 100 * kMiB, 90, 90},
      {"auto", 100 * kMiB, 91, 0, kExhausted, "one context needs 91 MiB"},
      {"50%", 100 * kMiB, 10, 50},
      {"100%", 100 * kMiB + 5, 10, 100},
      {"50%", 0, 1, 0, kExhausted, "50% of 0 B"},
      {"50%", -1, 10, 0, kInvalid, "does not say"},
  };
  for (const Case& test : cases) {
    EngineOptions options;
    ASSERT_OK(SetKvMemory(test.text, &options));
    const std::optional<int64_t> free_bytes =
        test.free_bytes < 0 ? std::nullopt : std::optional<int64_t>(test.free_bytes);
    const absl::StatusOr<int64_t> pages =
        PlanKvPages(options, free_bytes, kMiB, test.context_pages);
    if (test.code == absl::StatusCode::kOk) {
      ASSERT_OK(pages) << test.text;
      EXPECT_EQ(*pages, test.pages) << test.text << " of " << test.free_bytes;
    } else {
      EXPECT_THAT(pages, StatusIs(test.code, HasSubstr(test.message))) << test.text;
    }
  }
}

}  // namespace
}  // namespace lckv
