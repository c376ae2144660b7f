#include "engine/ops/cuda/cuda_page_copier.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/mutex.h"
#include "engine/ops/bandwidth_pacer.h"
#include "engine/ops/cuda/event_ring.h"
#include "engine/ops/cuda/gpu_status.h"

namespace lckv {
namespace {

using gpu::GpuApi;
using gpu::StreamId;

class CudaPageCopier final : public PageCopier {
 public:
  CudaPageCopier(const GpuApi* api, gpu::Device* device, Clock* clock,
                 const PageCopierOptions& options)
      : api_(api),
        device_(device),
        clock_(clock),
        marks_(api, device, StreamId::kCompute),
        in_(api, device, StreamId::kCopyIn, options),
        out_(api, device, StreamId::kCopyOut, options) {}

  absl::Status Create() {
    int error = 0;
    {
      MutexLock lock(marks_mu_);
      error = marks_.Create();
    }
    for (Lane* lane : {&in_, &out_}) {
      MutexLock lock(lane->mu);
      if (error == 0) error = lane->copies.Create();
    }
    if (error == 0) return absl::OkStatus();
    return absl::ResourceExhaustedError(absl::StrCat("GPU events: ", api_->error_text(error)));
  }

  Mark MarkCompute() override {
    MutexLock lock(marks_mu_);
    if (const int error = marks_.Record(); error != 0 && mark_error_ == 0) mark_error_ = error;
    return marks_.last();
  }

  absl::StatusOr<Ticket> Copy(Direction direction, void* to, const void* from, size_t size_bytes,
                              Mark after) override {
    Lane& lane = Of(direction);
    absl::Time start;
    {
      MutexLock lock(lane.mu);
      start = lane.pacer.Start(clock_->Now(), static_cast<int64_t>(size_bytes));
    }
    for (absl::Time now = clock_->Now(); now < start; now = clock_->Now()) {
      absl::SleepFor(start - now);
    }
    MutexLock lock(lane.mu);
    int error = WaitForCompute(lane, after);
    if (error == 0) error = api_->copy_async(device_, lane.stream, to, from, size_bytes);
    if (error == 0) error = lane.copies.Record();
    if (error != 0) return Lost(error);
    return lane.copies.last();
  }

  absl::Status Wait(Direction direction, Ticket ticket) override {
    const Lane& lane = Of(direction);
    const int error = lane.Wait(ticket);
    return error == 0 ? absl::OkStatus() : Lost(error);
  }

 private:
  struct Lane {
    Lane(const GpuApi* api, gpu::Device* device, StreamId id, const PageCopierOptions& options)
        : stream(id), pacer(options.bytes_per_second), copies(api, device, id) {}
    // Past the lock: an event may be waited for while others are recorded.
    int Wait(Ticket ticket) const ABSL_NO_THREAD_SAFETY_ANALYSIS { return copies.Wait(ticket); }

    const StreamId stream;
    Mutex mu;
    BandwidthPacer pacer ABSL_GUARDED_BY(mu);
    EventRing copies ABSL_GUARDED_BY(mu);
    Mark waits_for ABSL_GUARDED_BY(mu) = 0;  // the stream has this mark before it already
  };

  Lane& Of(Direction direction) { return direction == Direction::kIn ? in_ : out_; }

  int WaitForCompute(Lane& lane, Mark after) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lane.mu) {
    MutexLock lock(marks_mu_);
    if (mark_error_ != 0) return mark_error_;
    if (after <= lane.waits_for) return 0;
    lane.waits_for = after;
    return marks_.StreamWait(lane.stream, after);
  }

  absl::Status Lost(int error) const { return GpuStatus(api_, "page traffic", error); }

  const GpuApi* const api_;
  gpu::Device* const device_;
  Clock* const clock_;
  Mutex marks_mu_;  // after a lane's
  EventRing marks_ ABSL_GUARDED_BY(marks_mu_);
  int mark_error_ ABSL_GUARDED_BY(marks_mu_) = 0;
  Lane in_, out_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<PageCopier>> MakeCudaPageCopier(const GpuApi* api,
                                                               gpu::Device* device, Clock* clock,
                                                               const PageCopierOptions& options) {
  auto copier = std::make_unique<CudaPageCopier>(api, device, clock, options);
  if (absl::Status status = copier->Create(); !status.ok()) return status;
  return copier;
}

}  // namespace lckv
