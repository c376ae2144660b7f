#include "engine/runtime/device_layers.h"

#include <gtest/gtest.h>

#include "tests/testing/status_matchers.h"

namespace lckv {
namespace {

using ::testing::HasSubstr;
using testing::StatusIs;

// Eight layers of 10 in 100, of which 10 are always taken.
DeviceLayersRequest Eight() {
  DeviceLayersRequest request;
  request.free_bytes = 100;
  request.other_bytes = 10;
  request.layer_bytes.assign(8, 10);
  request.kv_share = 1;
  request.session_bytes = 1;
  request.running_sessions = 1000;
  return request;
}

int Choose(const DeviceLayersRequest& request) {
  const auto layers = ChooseDeviceLayers(request);
  EXPECT_OK(layers);
  return layers.value_or(-1);
}

TEST(DeviceLayersTest, AllIfTheyFit) {
  DeviceLayersRequest request = Eight();
  EXPECT_EQ(Choose(request), 8);
  request.session_bytes = 10;
  EXPECT_EQ(Choose(request), 8);
  request.kv_bytes = 10;
  EXPECT_EQ(Choose(request), 8);
  request.layer_bytes.clear();
  EXPECT_EQ(Choose(request), 0);
}

// Two windows of the streamed layers' size are needed then.
TEST(DeviceLayersTest, AsManyAsAFixedPoolLeavesRoomFor) {
  DeviceLayersRequest request = Eight();
  request.kv_bytes = 11;
  EXPECT_EQ(Choose(request), 5);  // 10 + 50 + 20 + 11; with six it would be 101
  request.free_bytes = 101;
  EXPECT_EQ(Choose(request), 8);
  request.kv_bytes = 70;
  EXPECT_EQ(Choose(request), 0);
}

TEST(DeviceLayersTest, TheMostTokensASecondFromAShare) {
  DeviceLayersRequest request = Eight();
  request.free_bytes = 89;
  // Sessions over streamed bytes: 59 / 80 with none resident, 49 / 70 with one.
  EXPECT_EQ(Choose(request), 0);
  // No more than 20 run: 29 are left beside three layers, 19 beside four.
  request.running_sessions = 20;
  EXPECT_EQ(Choose(request), 4);  // 19 / 40 > 20 / 50
  request.running_sessions = 2;
  EXPECT_EQ(Choose(request),
            5);  // 2 / 30; the one more with one window: 9 left, but of 10 + 60 + 20
  request.session_bytes = 59;
  EXPECT_EQ(Choose(request), 0);
}

TEST(DeviceLayersTest, NotEvenNone) {
  DeviceLayersRequest request = Eight();
  request.free_bytes = 30;
  EXPECT_THAT(ChooseDeviceLayers(request).status(),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("need 90 B, or 30 B")));
  request.kv_bytes = 5;
  EXPECT_THAT(ChooseDeviceLayers(request).status(),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("the KV 5 B")));
}

}  // namespace
}  // namespace lckv
