#include "services/common/tracing/export_queue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>
#include <memory>

#include "base/error_info.h"
#include "tests/testing/status_matchers.h"

namespace lckv {
namespace {

using ::testing::ElementsAre;

// A receiver that answers as it is told to, and remembers the sizes of the batches.
class FakeReceiver {
 public:
  // Answers of the next calls; afterwards everything is taken.
  void Answer(absl::StatusOr<size_t> answer) {
    MutexLock lock(mu_);
    answers_.push_back(std::move(answer));
  }
  // Calls hang until Release, their deadline or a cancel.
  void Hang() {
    MutexLock lock(mu_);
    hanging_ = true;
  }
  void Release() {
    MutexLock lock(mu_);
    hanging_ = false;
    changed_.NotifyAll();
  }
  void WaitForCalls(size_t calls) {
    MutexLock lock(mu_);
    while (begun_ < calls) changed_.Wait(mu_);
  }
  std::vector<size_t> batches() const {
    MutexLock lock(mu_);
    return batches_;
  }

  class Exporter final : public SpanExporter {
   public:
    explicit Exporter(FakeReceiver* receiver) : receiver_(receiver) {}
    absl::StatusOr<size_t> Export(absl::Span<const SpanData> spans, absl::Time deadline) override {
      return receiver_->Take(spans.size(), deadline);
    }
    void Cancel() override { receiver_->Release(); }

   private:
    FakeReceiver* const receiver_;
  };

 private:
  absl::StatusOr<size_t> Take(size_t spans, absl::Time deadline) {
    MutexLock lock(mu_);
    ++begun_;
    changed_.NotifyAll();
    while (hanging_) {
      if (absl::Now() >= deadline) return absl::DeadlineExceededError("hangs");
      changed_.WaitWithTimeout(mu_, deadline - absl::Now());
    }
    batches_.push_back(spans);
    if (answers_.empty()) return size_t{0};
    const absl::StatusOr<size_t> answer = answers_.front();
    answers_.pop_front();
    return answer;
  }

  mutable Mutex mu_;
  CondVar changed_;
  bool hanging_ ABSL_GUARDED_BY(mu_) = false;
  size_t begun_ ABSL_GUARDED_BY(mu_) = 0;
  std::deque<absl::StatusOr<size_t>> answers_ ABSL_GUARDED_BY(mu_);
  std::vector<size_t> batches_ ABSL_GUARDED_BY(mu_);
};

class ExportQueueTest : public ::testing::Test {
 protected:
  ExportQueueTest() {
    options_.queue_capacity = 8;
    options_.batch_spans = 4;
    options_.delay = absl::Seconds(60);
    options_.timeout = absl::Seconds(60);
    options_.backoff_min = absl::Milliseconds(1);
    options_.backoff_max = absl::Milliseconds(2);
    options_.flush = absl::Seconds(60);
  }
  void Start() {
    queue_ = std::make_unique<ExportQueue>(
        options_, std::make_unique<FakeReceiver::Exporter>(&receiver_), &counters_);
  }
  void Take(int spans) {
    for (int i = 0; i < spans; ++i) queue_->Take(SpanData());
  }
  // Everything is sent or given up.
  void Finish() { queue_.reset(); }
  std::vector<double> Counts() const {
    return {counters_.exported.Value(), counters_.dropped.Value(), counters_.failed.Value()};
  }

  ExportOptions options_;
  FakeReceiver receiver_;
  MetricsRegistry registry_;
  SpanCounters counters_{&registry_};
  std::unique_ptr<ExportQueue> queue_;
};

TEST_F(ExportQueueTest, AFullBatchLeavesAtOnceAndTheRestAtTheEnd) {
  Start();
  Take(1);
  // Time for the thread to wait for more.
  absl::SleepFor(absl::Milliseconds(20));
  Take(3);
  receiver_.WaitForCalls(1);
  EXPECT_THAT(receiver_.batches(), ElementsAre(4u));
  Take(3);
  Finish();
  EXPECT_THAT(receiver_.batches(), ElementsAre(4u, 3u));
  EXPECT_THAT(Counts(), ElementsAre(7, 0, 0));
}

TEST_F(ExportQueueTest, FewSpansLeaveAfterTheDelay) {
  options_.delay = absl::Milliseconds(10);
  Start();
  Take(1);
  receiver_.WaitForCalls(1);
  Take(2);
  receiver_.WaitForCalls(2);
  Finish();
  EXPECT_THAT(Counts(), ElementsAre(3, 0, 0));
}

TEST_F(ExportQueueTest, AFullQueueDropsAndCountsAndDoesNotWait) {
  receiver_.Hang();
  Start();
  Take(4);
  receiver_.WaitForCalls(1);
  Take(8);  // the queue is full
  Take(5);
  EXPECT_THAT(Counts(), ElementsAre(0, 5, 0));
  receiver_.Release();
  Finish();
  EXPECT_THAT(Counts(), ElementsAre(12, 5, 0));
}

TEST_F(ExportQueueTest, SendsAgainWhatMayWorkLater) {
  receiver_.Answer(absl::UnavailableError("away"));
  receiver_.Answer(absl::DeadlineExceededError("slow"));
  receiver_.Answer(WithRetryAfter(absl::ResourceExhaustedError("busy"), absl::Milliseconds(1)));
  Start();
  Take(4);
  receiver_.WaitForCalls(4);
  Finish();
  EXPECT_THAT(receiver_.batches(), ElementsAre(4u, 4u, 4u, 4u));
  EXPECT_THAT(Counts(), ElementsAre(4, 0, 0));
}

TEST_F(ExportQueueTest, GivesUpWhatNeverWorks) {
  receiver_.Answer(absl::InvalidArgumentError("no"));
  receiver_.Answer(absl::ResourceExhaustedError("without saying when"));
  Start();
  Take(4);
  receiver_.WaitForCalls(1);
  Take(4);
  receiver_.WaitForCalls(2);
  Take(4);
  // Not a second attempt at one of the others, which the end would cut short.
  receiver_.WaitForCalls(3);
  Finish();
  EXPECT_THAT(receiver_.batches(), ElementsAre(4u, 4u, 4u));
  EXPECT_THAT(Counts(), ElementsAre(4, 0, 8));
}

TEST_F(ExportQueueTest, CountsWhatTheReceiverRefused) {
  receiver_.Answer(size_t{3});
  Start();
  Take(4);
  Finish();
  EXPECT_THAT(Counts(), ElementsAre(1, 0, 3));
}

TEST_F(ExportQueueTest, AFullQueueEndsTheRetries) {
  receiver_.Hang();
  Start();
  Take(4);
  receiver_.WaitForCalls(1);
  Take(8);
  receiver_.Answer(absl::UnavailableError("away"));
  receiver_.Release();
  receiver_.WaitForCalls(3);
  Finish();
  // The first batch made room for the two that had no other.
  EXPECT_THAT(receiver_.batches(), ElementsAre(4u, 4u, 4u));
  EXPECT_THAT(Counts(), ElementsAre(8, 0, 4));
}

TEST_F(ExportQueueTest, TheFlushIsBounded) {
  options_.flush = absl::Milliseconds(50);
  receiver_.Hang();
  Start();
  Take(4);
  receiver_.WaitForCalls(1);
  Take(6);
  const absl::Time began = absl::Now();
  // The call in progress is cancelled, and what comes later finds its deadline passed.
  for (int i = 0; i < 3; ++i) receiver_.Answer(absl::CancelledError("flush is over"));
  Finish();
  EXPECT_GE(absl::Now() - began, absl::Milliseconds(50));
  EXPECT_LT(absl::Now() - began, absl::Seconds(30));
  EXPECT_THAT(Counts(), ElementsAre(0, 0, 10));
}

TEST_F(ExportQueueTest, TheCountersAreThereFromTheStart) {
  Start();
  Finish();
  EXPECT_THAT(Counts(), ElementsAre(0, 0, 0));
  EXPECT_THAT(registry_.Serialize(),
              ::testing::HasSubstr("lckv_trace_spans_total{outcome=\"dropped\"} 0"));
}

}  // namespace
}  // namespace lckv
