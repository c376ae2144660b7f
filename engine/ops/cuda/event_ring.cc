#include "engine/ops/cuda/event_ring.h"

namespace lckv {

EventRing::EventRing(const gpu::GpuApi* api, gpu::Device* device, gpu::StreamId stream)
    : api_(api), device_(device), stream_(stream) {}

EventRing::~EventRing() {
  for (gpu::Event* event : events_) api_->destroy_event(device_, event);
}

int EventRing::Create() {
  while (events_.size() < kEvents) {
    gpu::Event* event = nullptr;
    if (const int error = api_->create_event(device_, &event); error != 0) return error;
    events_.push_back(event);
  }
  return 0;
}

int EventRing::Record() {
  const int error = api_->record_event(device_, stream_, events_[(last_ + 1) % kEvents]);
  if (error == 0) ++last_;
  return error;
}

int EventRing::StreamWait(gpu::StreamId stream, uint64_t place) {
  return place == 0 ? 0 : api_->stream_wait(device_, stream, events_[place % kEvents]);
}

int EventRing::Wait(uint64_t place) const {
  return place == 0 ? 0 : api_->wait_event(device_, events_[place % kEvents]);
}

}  // namespace lckv
