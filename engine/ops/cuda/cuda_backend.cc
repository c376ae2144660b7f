#include "engine/ops/cuda/cuda_backend.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "base/units.h"
#include "engine/ops/weight_rows.h"

namespace lckv {
namespace {

using gpu::GpuApi;

constexpr int64_t kRowAlignment = 16;
// Weights go to the device in pieces of about this size.
constexpr int64_t kStagingBytes = int64_t{8} << 20;

class CudaWeight final : public LinearWeight {
 public:
  CudaWeight(const HostMatrix& matrix, DType format, int64_t row_bytes, DeviceBuffer data)
      : data_(std::move(data)) {
    weight_.data = data_.data();
    weight_.dtype = format;
    weight_.in_features = static_cast<int32_t>(matrix.cols);
    weight_.out_features = static_cast<int32_t>(matrix.rows);
    weight_.row_bytes = row_bytes;
  }
  int32_t in_features() const override { return weight_.in_features; }
  int32_t out_features() const override { return weight_.out_features; }
  DType dtype() const override { return weight_.dtype; }
  size_t size_bytes() const override { return data_.size_bytes(); }
  const gpu::Weight& weight() const { return weight_; }

 private:
  const DeviceBuffer data_;
  gpu::Weight weight_ = {};
};

const gpu::Weight& WeightOf(const LinearWeight& weight) {
  return static_cast<const CudaWeight&>(weight).weight();
}

class CudaBackend final : public Backend {
 public:
  CudaBackend(const GpuApi* api, gpu::Device* device, const gpu::DeviceInfo& info)
      : api_(api), device_(device), info_(info) {}
  ~CudaBackend() override { api_->close(device_); }

  absl::string_view numerics_class() const override { return "cuda-f32-r1"; }
  std::string description() const override {
    return absl::StrCat(info_.name, ", sm_", info_.compute_major, info_.compute_minor, ", ",
                        FormatBytes(static_cast<int64_t>(info_.memory_bytes)));
  }

  absl::StatusOr<DeviceBuffer> Allocate(size_t size_bytes) override {
    void* data = nullptr;
    const int error = api_->allocate(device_, size_bytes, &data);
    if (error != 0) {
      return absl::ResourceExhaustedError(
          absl::StrCat(FormatBytes(static_cast<int64_t>(size_bytes)),
                       " of GPU memory: ", api_->error_text(error)));
    }
    return DeviceBuffer(data, size_bytes, &CudaBackend::Free, this);
  }
  void CopyToDevice(void* device, const void* host, size_t size_bytes) override {
    if (size_bytes > 0) Note(api_->copy_to_device(device_, device, host, size_bytes));
  }
  void CopyToHost(void* host, const void* device, size_t size_bytes) override {
    if (size_bytes > 0) Note(api_->copy_to_host(device_, host, device, size_bytes));
  }
  absl::Status Synchronize() override {
    Note(api_->synchronize(device_));
    if (error_ == 0) return absl::OkStatus();
    return absl::InternalError(absl::StrCat("GPU: ", api_->error_text(error_)));
  }

  absl::StatusOr<std::unique_ptr<LinearWeight>> PrepareLinear(const HostMatrix& matrix,
                                                              DType format) override;

  void Embed(const EmbedParams& params) override {
    const gpu::EmbedArgs args = {WeightOf(*params.table), params.tokens, params.rows, params.out};
    Queue(api_->embed, args);
  }
  void Linear(const LinearParams& params) override {
    const gpu::LinearArgs args = {WeightOf(*params.weight), params.x,  params.bias, params.rows,
                                  params.accumulate,        params.out};
    Queue(api_->linear, args);
  }
  void RmsNorm(const RmsNormParams& params) override { Queue(api_->rms_norm, params); }
  void Rope(const RopeParams& params) override { Queue(api_->rope, params); }
  void StoreKv(const StoreKvParams& params) override { Queue(api_->store_kv, params); }
  void Attention(const AttentionParams& params) override { Queue(api_->attention, params); }
  void SwiGlu(const SwiGluParams& params) override { Queue(api_->swi_glu, params); }
  void KvChange(const KvChangeParams& params) override { Queue(api_->kv_change, params); }
  void GatherRows(const GatherRowsParams& params) override { Queue(api_->gather_rows, params); }

 private:
  static void Free(void* context, void* data) {
    auto* backend = static_cast<CudaBackend*>(context);
    backend->api_->free(backend->device_, data);
  }
  template <typename Args>
  void Queue(int (*op)(gpu::Device*, const Args*), const Args& args) {
    if (args.rows > 0) Note(op(device_, &args));
  }
  // Keeps the first error.
  void Note(int error) {
    if (error_ == 0) error_ = error;
  }

  const GpuApi* const api_;
  gpu::Device* const device_;
  const gpu::DeviceInfo info_;
  int error_ = 0;
};

absl::StatusOr<std::unique_ptr<LinearWeight>> CudaBackend::PrepareLinear(const HostMatrix& matrix,
                                                                         DType format) {
  LCKV_RETURN_IF_ERROR(CheckWeight(matrix, format));
  const int64_t stored = BytesOf(format, matrix.cols);
  const int64_t row_bytes = (stored + kRowAlignment - 1) / kRowAlignment * kRowAlignment;
  LCKV_ASSIGN_OR_RETURN(DeviceBuffer data, Allocate(static_cast<size_t>(matrix.rows * row_bytes)));
  const int64_t rows_at_once = std::clamp<int64_t>(kStagingBytes / row_bytes, 1, matrix.rows);
  std::vector<uint8_t> staging(static_cast<size_t>(rows_at_once * row_bytes));
  std::vector<float> scratch(static_cast<size_t>(matrix.cols));
  for (int64_t begin = 0; begin < matrix.rows; begin += rows_at_once) {
    const int64_t rows = std::min(rows_at_once, matrix.rows - begin);
    for (int64_t i = 0; i < rows; ++i) {
      ConvertRow(matrix, begin + i, format, scratch.data(), staging.data() + i * row_bytes);
    }
    CopyToDevice(data.bytes() + begin * row_bytes, staging.data(),
                 static_cast<size_t>(rows * row_bytes));
  }
  return std::make_unique<CudaWeight>(matrix, format, row_bytes, std::move(data));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Backend>> MakeCudaBackend(const GpuApi* api, int ordinal) {
  int32_t count = 0;
  if (const int error = api->device_count(&count); error != 0) {
    return absl::UnavailableError(absl::StrCat("no GPU: ", api->error_text(error)));
  }
  if (count == 0) return absl::UnavailableError("this machine has no GPU");
  if (ordinal < 0 || ordinal >= count) {
    return absl::InvalidArgumentError(
        absl::StrCat("no GPU ", ordinal, ": this machine has ", count));
  }
  gpu::Device* device = nullptr;
  if (const int error = api->open(ordinal, &device); error != 0) {
    return absl::InternalError(absl::StrCat("GPU ", ordinal, ": ", api->error_text(error)));
  }
  gpu::DeviceInfo info = {};
  if (const int error = api->info(device, &info); error != 0) {
    api->close(device);
    return absl::InternalError(absl::StrCat("GPU ", ordinal, ": ", api->error_text(error)));
  }
  return std::make_unique<CudaBackend>(api, device, info);
}

}  // namespace lckv
