#include "engine/ops/cuda/upload_ring.h"

#include <cstring>

#include "base/check.h"
#include "base/status_macros.h"
#include "engine/ops/cuda/gpu_status.h"

namespace lckv {

UploadRing::UploadRing(Backend* backend, const gpu::GpuApi* api, gpu::Device* device,
                       gpu::StreamId stream, size_t buffers)
    : backend_(backend),
      api_(api),
      device_(device),
      stream_(stream),
      copies_(api, device, stream),
      slots_(buffers) {}

UploadRing::~UploadRing() {
  if (ready_) Wait();  // an error: there is nothing left to wait for
}

absl::Status UploadRing::Reserve(size_t size_bytes) {
  if (!ready_) {
    LCKV_RETURN_IF_ERROR(GpuStatus(api_, "uploads", copies_.Create()));
    ready_ = true;
  }
  for (Slot& slot : slots_) {
    if (slot.buffer.size_bytes() >= size_bytes) continue;
    LCKV_RETURN_IF_ERROR(GpuStatus(api_, "uploads", copies_.Wait(slot.copied)));
    LCKV_ASSIGN_OR_RETURN(slot.buffer, backend_->AllocateHost(size_bytes));
  }
  return absl::OkStatus();
}

int UploadRing::Take(uint8_t** buffer) {
  taken_ = (taken_ + 1) % slots_.size();
  Slot& slot = slots_[taken_];
  *buffer = slot.buffer.bytes();
  return copies_.Wait(slot.copied);
}

int UploadRing::Send(void* device, size_t size_bytes) {
  LCKV_CHECK(size_bytes <= capacity_bytes());
  Slot& slot = slots_[taken_];
  int error = api_->copy_async(device_, stream_, device, slot.buffer.data(), size_bytes);
  if (error == 0) error = copies_.Record();
  slot.copied = copies_.last();
  return error;
}

int UploadRing::Copy(void* device, const void* host, size_t size_bytes) {
  LCKV_CHECK(size_bytes <= capacity_bytes());
  uint8_t* buffer = nullptr;
  if (const int error = Take(&buffer); error != 0) return error;
  std::memcpy(buffer, host, size_bytes);
  return Send(device, size_bytes);
}

int UploadRing::StreamWaitFor(EventRing& events) {
  return events.StreamWait(stream_, events.last());
}

}  // namespace lckv
