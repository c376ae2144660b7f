#include "engine/ops/backend.h"

#include <utility>

#include "absl/status/status.h"
#include "engine/ops/host_memory.h"

namespace lckv {

DeviceBuffer::DeviceBuffer(DeviceBuffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_bytes_(std::exchange(other.size_bytes_, 0)),
      deleter_(std::exchange(other.deleter_, nullptr)),
      context_(std::exchange(other.context_, nullptr)) {}

DeviceBuffer& DeviceBuffer::operator=(DeviceBuffer&& other) noexcept {
  if (this != &other) {
    Reset();
    data_ = std::exchange(other.data_, nullptr);
    size_bytes_ = std::exchange(other.size_bytes_, 0);
    deleter_ = std::exchange(other.deleter_, nullptr);
    context_ = std::exchange(other.context_, nullptr);
  }
  return *this;
}

void DeviceBuffer::Reset() {
  if (deleter_ != nullptr) deleter_(context_, data_);
  data_ = nullptr;
  size_bytes_ = 0;
  deleter_ = nullptr;
  context_ = nullptr;
}

absl::StatusOr<std::unique_ptr<OpRecording>> Backend::EndRecording() {
  return absl::InternalError("this backend records nothing");
}

int64_t Backend::LinearBytes(int64_t rows, int64_t cols, DType format) const {
  return rows * BytesOf(format, cols);
}

absl::StatusOr<std::unique_ptr<WeightStream>> Backend::MakeWeightStream(
    absl::Span<const int64_t> /*group_bytes*/) {
  return absl::InvalidArgumentError(
      "layers in host memory: this device computes there, nothing can stream");
}

absl::StatusOr<std::unique_ptr<LinearWeight>> Backend::PrepareStreamed(const HostMatrix& /*matrix*/,
                                                                       DType /*format*/,
                                                                       WeightStream* /*stream*/,
                                                                       int /*group*/) {
  return absl::InvalidArgumentError(
      "layers in host memory: this device computes there, nothing can stream");
}

absl::StatusOr<HostBuffer> Backend::AllocateHost(size_t size_bytes) {
  return AllocateHostMemory(size_bytes);
}

}  // namespace lckv
