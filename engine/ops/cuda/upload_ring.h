#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "engine/ops/backend.h"
#include "engine/ops/cuda/event_ring.h"
#include "engine/ops/cuda/gpu_api.h"

namespace lckv {

// Host bytes on their way into device memory on the compute stream, by way of kBuffers pinned
// buffers by turns: each copy is one transfer, and what is queued later sees it. The ring owns the
// buffers; one is written again only when the device has read it, so that the caller waits if
// kBuffers copies before this one are still under way, and never otherwise. For one thread, the
// backend's.
class UploadRing {
 public:
  static constexpr size_t kBuffers = 3;

  // Takes its buffers from `backend`. All must outlive it.
  UploadRing(Backend* backend, const gpu::GpuApi* api, gpu::Device* device);
  // Waits for copies under way.
  ~UploadRing();

  // Makes room for copies of up to `size_bytes`. RESOURCE_EXHAUSTED (pinned memory), INTERNAL (the
  // device).
  absl::Status Reserve(size_t size_bytes);
  // The most that one copy takes: the largest size reserved, at first 0.
  size_t capacity_bytes() const { return slots_.back().buffer.size_bytes(); }
  // `host` may be reused when it returns. Returns the library's error code. REQUIRES: size_bytes <=
  // capacity_bytes().
  int Copy(void* device, const void* host, size_t size_bytes);

 private:
  struct Slot {
    HostBuffer buffer;
    uint64_t copied = 0;  // the place in `copies_` that frees the buffer
  };
  absl::Status Check(int error) const;

  Backend* const backend_;
  const gpu::GpuApi* const api_;
  gpu::Device* const device_;
  EventRing copies_;
  bool ready_ = false;
  std::array<Slot, kBuffers> slots_;
  size_t turn_ = 0;
};

}  // namespace lckv
