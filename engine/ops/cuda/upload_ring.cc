#include "engine/ops/cuda/upload_ring.h"

#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"

namespace lckv {

UploadRing::UploadRing(Backend* backend, const gpu::GpuApi* api, gpu::Device* device)
    : backend_(backend),
      api_(api),
      device_(device),
      copies_(api, device, gpu::StreamId::kCompute) {}

UploadRing::~UploadRing() {
  if (ready_) copies_.Wait(copies_.last());  // an error: there is nothing left to wait for
}

absl::Status UploadRing::Check(int error) const {
  if (error == 0) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("GPU, uploads: ", api_->error_text(error)));
}

absl::Status UploadRing::Reserve(size_t size_bytes) {
  if (!ready_) {
    LCKV_RETURN_IF_ERROR(Check(copies_.Create()));
    ready_ = true;
  }
  for (Slot& slot : slots_) {
    if (slot.buffer.size_bytes() >= size_bytes) continue;
    LCKV_RETURN_IF_ERROR(Check(copies_.Wait(slot.copied)));
    LCKV_ASSIGN_OR_RETURN(slot.buffer, backend_->AllocateHost(size_bytes));
  }
  return absl::OkStatus();
}

int UploadRing::Copy(void* device, const void* host, size_t size_bytes) {
  LCKV_CHECK(size_bytes <= capacity_bytes());
  Slot& slot = slots_[turn_++ % kBuffers];
  int error = copies_.Wait(slot.copied);
  if (error != 0) return error;
  std::memcpy(slot.buffer.data(), host, size_bytes);
  error =
      api_->copy_async(device_, gpu::StreamId::kCompute, device, slot.buffer.data(), size_bytes);
  if (error == 0) error = copies_.Record();
  slot.copied = copies_.last();
  return error;
}

}  // namespace lckv
