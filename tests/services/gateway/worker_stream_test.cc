// How long a stream waits for its worker, told by a clock that the test turns.

#include "services/gateway/worker_stream.h"

#include <gtest/gtest.h>

#include <memory>
#include <semaphore>

#include "rpc/channel.h"
#include "services/gateway/stall_monitor.h"
#include "tests/services/gateway/fake_worker.h"
#include "tests/testing/cache_fixtures.h"
#include "tests/testing/status_matchers.h"

namespace lckv::gateway {
namespace {

constexpr absl::Duration kStallTimeout = absl::Seconds(5);

// The worker sends its frames when the test says so; the listener asks for them when the test does.
class WorkerStreamTest : public ::testing::Test, private WorkerStream::Listener {
 protected:
  WorkerStreamTest() {
    worker_.SetScript([this](grpc::ServerContext& context, const v1::WorkerGenerateRequest& request,
                             FakeWorker::Writer& writer) {
      send_.acquire();
      FakeWorker::WriteFirst(request, writer);
      FakeWorker::WaitUntilCancelled(context);
      return grpc::Status::CANCELLED;
    });
    stream_ =
        WorkerStream::Make(v1::Worker::NewStub(MakeChannel(worker_.address())), "w", this, &clock_);
    stalls_.Watch(stream_);
    stream_->Start(stream_, v1::WorkerGenerateRequest(), {}, absl::Now() + absl::Minutes(5));
  }
  // Every test ends while a frame is asked for, or after the end.
  ~WorkerStreamTest() override {
    stream_->Cancel();
    if (!ended_) end_.acquire();
    send_.release();
  }
  void OnFrame(v1::GenerateResponse&) override { frame_.release(); }
  void OnEnd(const grpc::Status&) override { end_.release(); }

  void GetFrame() {
    send_.release();
    frame_.acquire();
  }
  void WaitForEnd() {
    end_.acquire();
    ended_ = true;
  }
  // Of a worker that says so; before that, and after MarkBroken, it is dead.
  void Report() {
    v1::LoadReport report;
    report.set_worker_id("w");
    report.set_state(v1::LoadReport::READY);
    table_.Apply(0, report);
  }

  FakeWorker worker_{"w"};
  lckv::testing::FakeClock clock_;
  WorkerTable table_{1, absl::Hours(1), &clock_};
  StallMonitor stalls_{&table_, kStallTimeout};
  std::binary_semaphore send_{0}, frame_{0}, end_{0};
  bool ended_ = false;
  std::shared_ptr<WorkerStream> stream_;
};

TEST_F(WorkerStreamTest, WaitsFromTheRequestForAFrameToTheFrame) {
  const absl::Time start = clock_.Now();
  EXPECT_EQ(stream_->waiting_since(), start);
  clock_.Advance(absl::Seconds(3));
  EXPECT_EQ(stream_->waiting_since(), start);
  GetFrame();
  EXPECT_EQ(stream_->waiting_since(), absl::InfiniteFuture());
  clock_.Advance(absl::Seconds(4));
  stream_->Next();
  EXPECT_EQ(stream_->waiting_since(), start + absl::Seconds(7));
}

TEST_F(WorkerStreamTest, ADeadWorkersStreamIsCutOffAfterTheTimeout) {
  clock_.Advance(kStallTimeout - absl::Milliseconds(1));
  stalls_.Tick(clock_.Now());
  EXPECT_FALSE(stream_->stalled());
  clock_.Advance(absl::Milliseconds(1));
  stalls_.Tick(clock_.Now());
  EXPECT_TRUE(stream_->stalled());
  WaitForEnd();
}

TEST_F(WorkerStreamTest, AWorkerThatReportsMayTakeItsTime) {
  Report();
  clock_.Advance(10 * kStallTimeout);
  stalls_.Tick(clock_.Now());
  EXPECT_FALSE(stream_->stalled());
  table_.MarkBroken(0);
  stalls_.Tick(clock_.Now());
  EXPECT_TRUE(stream_->stalled());
  WaitForEnd();
}

// The client is slow, and nobody waits for the worker: the time before does not count afterwards.
TEST_F(WorkerStreamTest, AFrameOnItsWayToTheClientIsNoWait) {
  GetFrame();
  clock_.Advance(10 * kStallTimeout);
  stalls_.Tick(clock_.Now());
  EXPECT_FALSE(stream_->stalled());
  stream_->Next();
  stalls_.Tick(clock_.Now());
  EXPECT_FALSE(stream_->stalled());
  clock_.Advance(kStallTimeout);
  stalls_.Tick(clock_.Now());
  EXPECT_TRUE(stream_->stalled());
  WaitForEnd();
}

}  // namespace
}  // namespace lckv::gateway
