#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "engine/ops/cuda/gpu_api.h"

namespace lckv {

// Numbered places in one stream, of any number, with a few events: places n and n + size share
// one. Streams run in order, so a wait for an older place on an event that was recorded again is
// only longer than it has to be. Guarded by its user, except Wait.
class EventRing {
 public:
  EventRing(const gpu::GpuApi* api, gpu::Device* device, gpu::StreamId stream);
  ~EventRing();
  EventRing(const EventRing&) = delete;
  EventRing& operator=(const EventRing&) = delete;

  // Makes the events: before anything else. Returns the library's error code.
  int Create();

  // Records the end of the stream as place `last() + 1`. Returns the library's error code.
  int Record();
  uint64_t last() const { return last_; }
  // What `stream` is given from now on begins after the place.
  int StreamWait(gpu::StreamId stream, uint64_t place);
  // Blocks until the place is past. Thread-safe beside everything else.
  int Wait(uint64_t place) const;

 private:
  static constexpr uint64_t kEvents = 16;

  const gpu::GpuApi* const api_;
  gpu::Device* const device_;
  const gpu::StreamId stream_;
  std::vector<gpu::Event*> events_;
  uint64_t last_ = 0;
};

}  // namespace lckv
