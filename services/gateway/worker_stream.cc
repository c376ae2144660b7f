#include "services/gateway/worker_stream.h"

#include <utility>

#include "base/check.h"

namespace lckv::gateway {

std::shared_ptr<WorkerStream> WorkerStream::Make(std::shared_ptr<v1::Worker::Stub> stub,
                                                 std::string worker, Listener* listener,
                                                 Clock* clock) {
  return std::shared_ptr<WorkerStream>(
      new WorkerStream(std::move(stub), std::move(worker), listener, clock));
}

WorkerStream::WorkerStream(std::shared_ptr<v1::Worker::Stub> stub, std::string worker,
                           Listener* listener, Clock* clock)
    : stub_(std::move(stub)), worker_(std::move(worker)), listener_(listener), clock_(clock) {}

void WorkerStream::Start(std::shared_ptr<WorkerStream> self, v1::WorkerGenerateRequest request,
                         const TraceContext& trace, absl::Time deadline) {
  LCKV_CHECK(self.get() == this && self_ == nullptr);
  self_ = std::move(self);
  request_ = std::move(request);
  AddTraceparent(trace, &context_);
  context_.set_deadline(absl::ToChronoTime(deadline));
  stub_->async()->Generate(&context_, &request_, this);
  // Without a hold gRPC could end the call between two reads, while a frame is still being sent on.
  AddHold();
  Next();
  StartCall();
}

void WorkerStream::Next() {
  waiting_since_us_.store(absl::ToUnixMicros(clock_->Now()), std::memory_order_release);
  StartRead(&frame_);
}

void WorkerStream::Cancel() { context_.TryCancel(); }

void WorkerStream::CancelStalled() {
  stalled_.store(true, std::memory_order_release);
  context_.TryCancel();
}

absl::Time WorkerStream::waiting_since() const {
  const int64_t us = waiting_since_us_.load(std::memory_order_acquire);
  return us == kNotWaiting ? absl::InfiniteFuture() : absl::FromUnixMicros(us);
}

void WorkerStream::OnReadDone(bool ok) {
  if (!ok) {
    RemoveHold();  // OnDone follows
    return;
  }
  waiting_since_us_.store(kNotWaiting, std::memory_order_release);
  listener_->OnFrame(frame_);
}

void WorkerStream::OnDone(const grpc::Status& status) {
  // The listener may drop its reference, and this object with it.
  const std::shared_ptr<WorkerStream> self = std::move(self_);
  listener_->OnEnd(status);
}

}  // namespace lckv::gateway
