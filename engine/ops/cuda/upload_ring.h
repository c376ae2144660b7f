#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "engine/ops/backend.h"
#include "engine/ops/cuda/event_ring.h"
#include "engine/ops/cuda/gpu_api.h"

namespace lckv {

// Host bytes on their way into device memory on one stream, by way of a few pinned buffers by
// turns: each copy is one transfer. The ring owns the buffers; one is written again only when the
// device has read it, so that the caller waits if as many copies as there are buffers are still
// under way, and never otherwise. For one thread, the backend's. Functions that return an int
// return the library's error code.
class UploadRing {
 public:
  // Takes `buffers` buffers from `backend` in Reserve(). All must outlive it.
  UploadRing(Backend* backend, const gpu::GpuApi* api, gpu::Device* device, gpu::StreamId stream,
             size_t buffers);
  // Waits for copies under way.
  ~UploadRing();

  // Makes room for copies of up to `size_bytes`: before anything else. RESOURCE_EXHAUSTED (pinned
  // memory), INTERNAL (the device).
  absl::Status Reserve(size_t size_bytes);
  // The most that one copy takes: the largest size reserved, at first 0.
  size_t capacity_bytes() const { return slots_.back().buffer.size_bytes(); }

  // The next buffer, of capacity_bytes(), for the caller to fill until Send().
  int Take(uint8_t** buffer);
  // Queues the copy of the first `size_bytes` of the buffer taken last.
  int Send(void* device, size_t size_bytes);
  // Both, for bytes that lie elsewhere; `host` may be reused when it returns.
  int Copy(void* device, const void* host, size_t size_bytes);

  // What the ring's stream is given from now on begins after the last place of `events`.
  int StreamWaitFor(EventRing& events);
  // What `stream` is given from now on begins after all copies so far.
  int StreamWait(gpu::StreamId stream) { return copies_.StreamWait(stream, copies_.last()); }
  // Blocks until all copies so far are done.
  int Wait() const { return copies_.Wait(copies_.last()); }

 private:
  struct Slot {
    HostBuffer buffer;
    uint64_t copied = 0;  // the place in `copies_` that frees the buffer
  };

  Backend* const backend_;
  const gpu::GpuApi* const api_;
  gpu::Device* const device_;
  const gpu::StreamId stream_;
  EventRing copies_;
  bool ready_ = false;
  std::vector<Slot> slots_;
  size_t taken_ = 0;  // index of the slot taken last
};

}  // namespace lckv
