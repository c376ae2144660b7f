#include <cstring>

#include "engine/ops/backend.h"
#include "engine/ops/host_memory.h"
#include "engine/ops/reference/reference_ops.h"

namespace lckv {
namespace {

class ReferenceBackend final : public Backend {
 public:
  absl::string_view numerics_class() const override { return "reference-f64-r1"; }
  bool memory_is_host() const override { return true; }
  std::string description() const override { return "CPU, reference (scalar, double)"; }

  absl::StatusOr<DeviceBuffer> Allocate(size_t size_bytes) override {
    return AllocateHostMemory(size_bytes);
  }
  void CopyToDevice(void* device, const void* host, size_t size_bytes) override {
    if (size_bytes > 0) std::memcpy(device, host, size_bytes);
  }
  void CopyToHost(void* host, const void* device, size_t size_bytes) override {
    if (size_bytes > 0) std::memcpy(host, device, size_bytes);
  }
  absl::Status Synchronize() override { return absl::OkStatus(); }

  absl::StatusOr<std::unique_ptr<LinearWeight>> PrepareLinear(const HostMatrix& matrix,
                                                              DType format) override {
    return reference::PrepareLinear(matrix, format);
  }

  void Embed(const EmbedParams& params) override { reference::Embed(params); }
  void RmsNorm(const RmsNormParams& params) override { reference::RmsNorm(params); }
  void Linear(const LinearParams& params) override { reference::Linear(params); }
  void RopeAndStore(const RopeAndStoreParams& params) override { reference::RopeAndStore(params); }
  void Attention(const AttentionParams& params) override { reference::Attention(params); }
  void SwiGlu(const SwiGluParams& params) override { reference::SwiGlu(params); }
  void KvChange(const KvChangeParams& params) override { reference::KvChange(params); }
  void GatherRows(const GatherRowsParams& params) override { reference::GatherRows(params); }
  void CopyRows(const CopyRowsParams& params) override { reference::CopyRows(params); }
  void Sample(const SampleParams& params) override { reference::Sample(params); }
  void Crc32c(const Crc32cParams& params) override { reference::Crc32c(params); }
};

}  // namespace

std::unique_ptr<Backend> MakeReferenceBackend() { return std::make_unique<ReferenceBackend>(); }

}  // namespace lckv
