// What the page copier asks of a GPU, and in which order: recorded by a table of functions that
// does nothing else.

#include "engine/ops/cuda/cuda_page_copier.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/testing/status_matchers.h"

namespace lckv {
namespace gpu {

struct Event {
  int number;
};

}  // namespace gpu

namespace {

using gpu::StreamId;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::StatusIs;
using Direction = PageCopier::Direction;

// Of the test that runs.
std::vector<std::string> calls;
std::string failing;  // the call that fails
int events = 0;

int Call(const std::string& call) {
  calls.push_back(call);
  return !failing.empty() && absl::StrContains(call, failing) ? 7 : 0;
}
const char* NameOf(StreamId stream) {
  if (stream == StreamId::kCompute) return "compute";
  return stream == StreamId::kCopyIn ? "in" : "out";
}

gpu::GpuApi RecordingApi() {
  gpu::GpuApi api;
  api.error_text = [](int code) { return code == 7 ? "seven" : "?"; };
  api.create_event = [](gpu::Device*, gpu::Event** event) {
    if (const int error = Call("create"); error != 0) return error;
    *event = new gpu::Event{events++};
    return 0;
  };
  api.destroy_event = [](gpu::Device*, gpu::Event* event) {
    --events;
    delete event;
  };
  api.record_event = [](gpu::Device*, StreamId stream, gpu::Event* event) {
    return Call(absl::StrCat(NameOf(stream), " records ", event->number));
  };
  api.stream_wait = [](gpu::Device*, StreamId stream, gpu::Event* event) {
    return Call(absl::StrCat(NameOf(stream), " waits for ", event->number));
  };
  api.wait_event = [](gpu::Device*, gpu::Event* event) {
    return Call(absl::StrCat("host waits for ", event->number));
  };
  api.copy_async = [](gpu::Device*, StreamId stream, void*, const void*, uint64_t bytes) {
    return Call(absl::StrCat(NameOf(stream), " copies ", bytes));
  };
  return api;
}

// Every look at it takes 10 ms.
class SlowClock final : public Clock {
 public:
  absl::Time Now() override {
    ++looks;
    return now += absl::Milliseconds(10);
  }
  absl::Time now = absl::FromUnixSeconds(1000);
  int looks = 0;
};

class CudaPageCopierTest : public ::testing::Test {
 protected:
  void SetUp() override {
    failing.clear();
    events = 0;
  }
  void TearDown() override {
    copier_.reset();
    EXPECT_EQ(events, 0);
  }
  void Make(int64_t bytes_per_second = 0) {
    auto made = MakeCudaPageCopier(&api_, nullptr, &clock_, {bytes_per_second});
    ASSERT_OK(made);
    copier_ = *std::move(made);
    calls.clear();
  }
  PageCopier::Ticket Copy(Direction direction, PageCopier::Mark after, size_t bytes = 8) {
    const auto ticket = copier_->Copy(direction, nullptr, nullptr, bytes, after);
    EXPECT_OK(ticket);
    return ticket.value_or(0);
  }

  const gpu::GpuApi api_ = RecordingApi();
  SlowClock clock_;
  std::unique_ptr<PageCopier> copier_;
};

// Events are numbered in the order in which they are made: marks, in, out; 16 each, and the place n
// has event n % 16.
TEST_F(CudaPageCopierTest, ACopyBeginsAfterItsMarkAndIsWaitedFor) {
  Make();
  const PageCopier::Mark first = copier_->MarkCompute();
  const PageCopier::Mark second = copier_->MarkCompute();
  EXPECT_LT(first, second);
  const PageCopier::Ticket in = Copy(Direction::kIn, second);
  Copy(Direction::kIn, first);   // has what it needs
  Copy(Direction::kOut, first);  // the other stream has not
  Copy(Direction::kOut, second);
  EXPECT_OK(copier_->Wait(Direction::kIn, in));
  EXPECT_OK(copier_->Wait(Direction::kIn, 0));
  EXPECT_THAT(calls, ElementsAre("compute records 1", "compute records 2",             //
                                 "in waits for 2", "in copies 8", "in records 17",     //
                                 "in copies 8", "in records 18",                       //
                                 "out waits for 1", "out copies 8", "out records 33",  //
                                 "out waits for 2", "out copies 8", "out records 34",  //
                                 "host waits for 17"));
}

TEST_F(CudaPageCopierTest, PlacesShareEvents) {
  Make();
  PageCopier::Ticket first = 0;
  for (int i = 0; i < 17; ++i) {
    const PageCopier::Ticket ticket = Copy(Direction::kOut, copier_->MarkCompute());
    if (i == 0) first = ticket;
  }
  calls.clear();
  // Recorded again by the 17th copy: the wait covers both.
  EXPECT_OK(copier_->Wait(Direction::kOut, first));
  EXPECT_THAT(calls, ElementsAre("host waits for 33"));
}

TEST_F(CudaPageCopierTest, ErrorsAreTypedAndSayWhat) {
  const auto lost = StatusIs(absl::StatusCode::kInternal, HasSubstr("seven"));
  for (const char* call : {"waits for", "copies", "in records"}) {
    Make();
    const PageCopier::Mark mark = copier_->MarkCompute();
    failing = call;
    EXPECT_THAT(copier_->Copy(Direction::kIn, nullptr, nullptr, 8, mark), lost) << call;
    failing.clear();
  }
  failing = "host waits";
  EXPECT_THAT(copier_->Wait(Direction::kIn, 1), lost);
  failing = "compute records";
  // Shows in the copy that would have waited for it.
  const PageCopier::Mark mark = copier_->MarkCompute();
  failing.clear();
  calls.clear();
  EXPECT_THAT(copier_->Copy(Direction::kIn, nullptr, nullptr, 8, mark), lost);
  EXPECT_THAT(calls, IsEmpty()) << "nothing is copied too early";
  copier_.reset();
  failing = "create";
  EXPECT_THAT(MakeCudaPageCopier(&api_, nullptr, &clock_, {}),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("seven")));
}

TEST_F(CudaPageCopierTest, EachDirectionKeepsToTheBandwidth) {
  Make(1000);
  const PageCopier::Mark mark = copier_->MarkCompute();
  Copy(Direction::kIn, mark, 100);
  const absl::Time begin = clock_.now;
  Copy(Direction::kOut, mark, 100);
  EXPECT_LE(clock_.now - begin, absl::Milliseconds(30)) << "the other direction has its own";
  Copy(Direction::kIn, mark, 100);
  EXPECT_GE(clock_.now - begin, absl::Milliseconds(80));
  EXPECT_LE(clock_.now - begin, absl::Milliseconds(120));
}

}  // namespace
}  // namespace lckv
