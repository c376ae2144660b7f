#include "services/common/trace_context.h"

#include <gtest/gtest.h>

namespace lckv {
namespace {

constexpr char kValid[] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

TEST(TraceContextTest, ParsesAndFormats) {
  const std::optional<TraceContext> trace = ParseTraceparent(kValid);
  ASSERT_TRUE(trace.has_value());
  EXPECT_EQ(trace->trace_id, "0af7651916cd43dd8448eb211c80319c");
  EXPECT_EQ(trace->span_id, "b7ad6b7169203331");
  EXPECT_TRUE(trace->sampled);
  EXPECT_EQ(FormatTraceparent(*trace), kValid);
}

TEST(TraceContextTest, RefusesEveryTruncationAndEveryWrongCharacter) {
  const std::string valid = kValid;
  for (size_t size = 0; size < valid.size(); ++size) {
    EXPECT_FALSE(ParseTraceparent(valid.substr(0, size)).has_value()) << size;
  }
  for (size_t i = 0; i < valid.size(); ++i) {
    std::string wrong = valid;
    wrong[i] = 'G';
    EXPECT_FALSE(ParseTraceparent(wrong).has_value()) << wrong;
  }
  EXPECT_FALSE(ParseTraceparent(valid + "0").has_value());
}

TEST(TraceContextTest, RefusesAllZeroIds) {
  EXPECT_FALSE(
      ParseTraceparent("00-00000000000000000000000000000000-b7ad6b7169203331-01").has_value());
  EXPECT_FALSE(
      ParseTraceparent("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01").has_value());
}

}  // namespace
}  // namespace lckv
