// The ring over a device that does nothing before it has to: copies happen when somebody waits for
// them.

#include "engine/ops/cuda/upload_ring.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "tests/testing/status_matchers.h"

namespace lckv {
namespace gpu {

struct Event {
  uint64_t place = 0;  // so many copies were queued before it
};

}  // namespace gpu

namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::StatusIs;

struct LateDevice {
  std::deque<std::function<void()>> queued;
  uint64_t done = 0;
  int waits = 0;  // for copies that were not done
  int failing = 0;

  void RunUntil(uint64_t place) {
    for (; done < place; ++done) {
      queued.front()();
      queued.pop_front();
    }
  }
};
LateDevice device;  // of the test that runs

gpu::GpuApi LateApi() {
  gpu::GpuApi api;
  api.error_text = [](int) { return "broken"; };
  api.create_event = [](gpu::Device*, gpu::Event** event) {
    if (device.failing != 0) return device.failing;
    *event = new gpu::Event;
    return 0;
  };
  api.destroy_event = [](gpu::Device*, gpu::Event* event) { delete event; };
  api.record_event = [](gpu::Device*, gpu::StreamId stream, gpu::Event* event) {
    EXPECT_EQ(stream, gpu::StreamId::kCopyIn);
    event->place = device.done + device.queued.size();
    return 0;
  };
  api.wait_event = [](gpu::Device*, gpu::Event* event) {
    if (event->place > device.done) ++device.waits;
    device.RunUntil(event->place);
    return 0;
  };
  api.copy_async = [](gpu::Device*, gpu::StreamId stream, void* to, const void* from,
                      uint64_t bytes) {
    EXPECT_EQ(stream, gpu::StreamId::kCopyIn);
    if (device.failing != 0) return device.failing;
    device.queued.push_back([=] { std::memcpy(to, from, bytes); });
    return 0;
  };
  return api;
}

class UploadRingTest : public ::testing::Test {
 protected:
  void SetUp() override {
    device = {};
    ring_ = MakeRing();
  }

  static constexpr int32_t kBuffers = 3;

  std::unique_ptr<UploadRing> MakeRing() {
    return std::make_unique<UploadRing>(backend_.get(), &api_, nullptr, gpu::StreamId::kCopyIn,
                                        kBuffers);
  }

  const gpu::GpuApi api_ = LateApi();
  const std::unique_ptr<Backend> backend_ = MakeReferenceBackend();
  std::unique_ptr<UploadRing> ring_;
};

TEST_F(UploadRingTest, BuffersAreNotWrittenBeforeTheyAreRead) {
  ASSERT_OK(ring_->Reserve(8));
  std::vector<int32_t> received(20, -1);
  for (int32_t i = 0; i < 20; ++i) {
    int32_t sent = i;
    ASSERT_EQ(ring_->Copy(&received[static_cast<size_t>(i)], &sent, sizeof(sent)), 0);
    // Nobody waits until every buffer is under way; then for one copy each time.
    EXPECT_EQ(device.waits, std::max(0, i + 1 - kBuffers));
  }
  ring_.reset();
  for (int32_t i = 0; i < 20; ++i) EXPECT_EQ(received[static_cast<size_t>(i)], i);
}

TEST_F(UploadRingTest, GrowsBesideCopiesUnderWay) {
  EXPECT_EQ(ring_->capacity_bytes(), 0u);
  ASSERT_OK(ring_->Reserve(4));
  std::vector<int32_t> received(3, -1);
  const std::vector<int32_t> sent = {7, 8};
  ASSERT_EQ(ring_->Copy(&received[0], sent.data(), 4), 0);
  ASSERT_OK(ring_->Reserve(8));
  EXPECT_EQ(ring_->capacity_bytes(), 8u);
  ASSERT_OK(ring_->Reserve(2));
  EXPECT_EQ(ring_->capacity_bytes(), 8u);
  ASSERT_EQ(ring_->Copy(&received[1], sent.data(), 8), 0);
  ring_.reset();
  EXPECT_THAT(received, ElementsAre(7, 7, 8));
}

TEST_F(UploadRingTest, ErrorsAreTheLibrarys) {
  ASSERT_OK(ring_->Reserve(4));
  device.failing = 3;
  const int32_t sent = 1;
  int32_t received = 0;
  EXPECT_EQ(ring_->Copy(&received, &sent, 4), 3);
  EXPECT_THAT(MakeRing()->Reserve(4), StatusIs(absl::StatusCode::kInternal, HasSubstr("broken")));
}

}  // namespace
}  // namespace lckv
