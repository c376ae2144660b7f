#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "engine/ops/backend.h"

namespace lckv::testing {

// A backend that is another one, for tests that change a part of it.
class ForwardingBackend : public Backend {
 public:
  explicit ForwardingBackend(std::unique_ptr<Backend> inner) : inner_(std::move(inner)) {}

  absl::string_view numerics_class() const override { return inner_->numerics_class(); }
  bool memory_is_host() const override { return inner_->memory_is_host(); }
  DType activation_dtype() const override { return inner_->activation_dtype(); }
  DType DefaultFormat(DType stored) const override { return inner_->DefaultFormat(stored); }
  DType int8_format() const override { return inner_->int8_format(); }
  std::string description() const override { return inner_->description(); }
  absl::StatusOr<DeviceBuffer> Allocate(size_t size_bytes) override {
    return inner_->Allocate(size_bytes);
  }
  void CopyToDevice(void* device, const void* host, size_t size_bytes) override {
    inner_->CopyToDevice(device, host, size_bytes);
  }
  void CopyToHost(void* host, const void* device, size_t size_bytes) override {
    inner_->CopyToHost(host, device, size_bytes);
  }
  absl::Status Synchronize() override { return inner_->Synchronize(); }
  absl::StatusOr<HostBuffer> AllocateHost(size_t size_bytes) override {
    return inner_->AllocateHost(size_bytes);
  }
  absl::Status ReserveStaging(size_t to_device_bytes, size_t to_host_bytes) override {
    return inner_->ReserveStaging(to_device_bytes, to_host_bytes);
  }
  absl::StatusOr<std::optional<int64_t>> FreeMemory() override { return inner_->FreeMemory(); }
  absl::StatusOr<std::unique_ptr<PageCopier>> MakePageCopier(
      const PageCopierOptions& options) override {
    return inner_->MakePageCopier(options);
  }
  absl::StatusOr<std::unique_ptr<LinearWeight>> PrepareLinear(const HostMatrix& matrix,
                                                              DType format) override {
    return inner_->PrepareLinear(matrix, format);
  }
  int64_t LinearBytes(int64_t rows, int64_t cols, DType format) const override {
    return inner_->LinearBytes(rows, cols, format);
  }
  absl::StatusOr<std::unique_ptr<WeightStream>> MakeWeightStream(
      absl::Span<const int64_t> group_bytes) override {
    return inner_->MakeWeightStream(group_bytes);
  }
  absl::StatusOr<std::unique_ptr<LinearWeight>> PrepareStreamed(const HostMatrix& matrix,
                                                                DType format, WeightStream* stream,
                                                                int group) override {
    return inner_->PrepareStreamed(matrix, format, stream, group);
  }
  void Embed(const EmbedParams& params) override { inner_->Embed(params); }
  void RmsNorm(const RmsNormParams& params) override { inner_->RmsNorm(params); }
  void Linear(const LinearParams& params) override { inner_->Linear(params); }
  void RopeAndStore(const RopeAndStoreParams& params) override { inner_->RopeAndStore(params); }
  void Attention(const AttentionParams& params) override { inner_->Attention(params); }
  void SwiGlu(const SwiGluParams& params) override { inner_->SwiGlu(params); }
  void KvChange(const KvChangeParams& params) override { inner_->KvChange(params); }
  void GatherRows(const GatherRowsParams& params) override { inner_->GatherRows(params); }
  void CopyRows(const CopyRowsParams& params) override { inner_->CopyRows(params); }
  void Sample(const SampleParams& params) override { inner_->Sample(params); }
  bool can_record() const override { return inner_->can_record(); }
  void BeginRecording() override { inner_->BeginRecording(); }
  absl::StatusOr<std::unique_ptr<OpRecording>> EndRecording() override {
    return inner_->EndRecording();
  }
  void Replay(const OpRecording& recording) override { inner_->Replay(recording); }
  void Crc32c(const Crc32cParams& params) override { inner_->Crc32c(params); }

 private:
  const std::unique_ptr<Backend> inner_;
};

}  // namespace lckv::testing
