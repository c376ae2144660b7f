#include "services/common/tracing/sampler.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/testing/status_matchers.h"

namespace lckv {
namespace {

using testing::StatusIs;

const TraceId kLow("0123456789abcdef0000000000000002");   // the smallest random number but one
const TraceId kHigh("0123456789abcdefffffffffffffffff");  // the largest

TEST(SamplerTest, EachNameWithAndWithoutAParent) {
  struct Case {
    const char* name;
    const char* argument;
    bool low, high;           // traces that begin here
    bool sampled, unsampled;  // below a parent that is, and is not, sampled; of kHigh
  };
  const std::vector<Case> cases = {
      {"", "", true, true, true, false},
      {"parentbased_always_on", "", true, true, true, false},
      {"parentbased_always_off", "", false, false, true, false},
      {"parentbased_traceidratio", "0.5", true, false, true, false},
      {"parentbased_traceidratio", "", true, true, true, false},
      {"parentbased_traceidratio", "0", false, false, true, false},
      {"always_on", "", true, true, true, true},
      {"always_off", "", false, false, false, false},
      {"traceidratio", "0.5", true, false, false, false},
      {"traceidratio", "1", true, true, true, true},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(std::string(c.name) + "=" + c.argument);
    const absl::StatusOr<Sampler> sampler = ParseSampler(c.name, c.argument);
    ASSERT_OK(sampler);
    EXPECT_EQ(sampler->Sample(nullptr, kLow), c.low);
    EXPECT_EQ(sampler->Sample(nullptr, kHigh), c.high);
    TraceContext parent = {kHigh, SpanId("00f067aa0ba902b7"), true};
    EXPECT_EQ(sampler->Sample(&parent, kHigh), c.sampled);
    parent.sampled = false;
    EXPECT_EQ(sampler->Sample(&parent, kHigh), c.unsampled);
  }
}

TEST(SamplerTest, TheRatioIsAboutRight) {
  const Sampler sampler = {.parent_based = true, .ratio = 0.25};
  int sampled = 0;
  for (int i = 0; i < 10'000; ++i) sampled += sampler.Sample(nullptr, RandomTraceId()) ? 1 : 0;
  // Six standard deviations.
  EXPECT_NEAR(sampled, 2500, 260);
}

TEST(SamplerTest, RefusesWhatItDoesNotKnow) {
  for (const char* name : {"on", "parentbased_", "Always_On", "jaeger_remote", "xray"}) {
    EXPECT_THAT(ParseSampler(name, ""), StatusIs(absl::StatusCode::kInvalidArgument)) << name;
  }
  for (const char* ratio : {"1.1", "-0.1", "nan", "half", "0,5"}) {
    EXPECT_THAT(ParseSampler("traceidratio", ratio), StatusIs(absl::StatusCode::kInvalidArgument))
        << ratio;
  }
}

}  // namespace
}  // namespace lckv
