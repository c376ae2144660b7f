#include "engine/ops/cuda/cuda_backend.h"

#include <cstring>
#include <memory>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "base/units.h"
#include "engine/ops/cuda/cuda_page_copier.h"
#include "engine/ops/cuda/gpu_status.h"
#include "engine/ops/cuda/upload_ring.h"
#include "engine/ops/cuda/weight_layout.h"
#include "engine/ops/cuda/weight_upload.h"
#include "engine/ops/cuda/weight_windows.h"
#include "engine/ops/weight_rows.h"

namespace lckv {
namespace {

using gpu::GpuApi;

constexpr int64_t kScalesAlignment = 256;
// Tables of steps under way to the device: the host is at most so many steps ahead.
constexpr size_t kStepBuffers = 3;

// How a matrix of a format lies in memory: its rows; of row formats then, aligned, their scales.
struct WeightSpace {
  WeightSpace(int64_t rows, int64_t cols, DType format) : row_bytes(gpu::RowBytes(format, cols)) {
    bytes = gpu::StoredRows(format, rows) * row_bytes;
    if (!IsRowQuantized(format)) return;
    scales_offset = CeilDiv(bytes, kScalesAlignment) * kScalesAlignment;
    scales_bytes = rows * kRowScaleBytes;
    bytes = scales_offset + scales_bytes;
  }
  int64_t row_bytes;
  int64_t bytes = 0;
  int64_t scales_offset = 0;
  int64_t scales_bytes = 0;  // 0: none
};

class CudaWeight final : public LinearWeight {
 public:
  CudaWeight(const HostMatrix& matrix, DType format, const WeightSpace& space, DeviceBuffer data)
      : CudaWeight(matrix, format, space, data.bytes(), nullptr, -1) {
    data_ = std::move(data);
  }
  // Of group `group` of `windows`, at `data` in one of them.
  CudaWeight(const HostMatrix& matrix, DType format, const WeightSpace& space, uint8_t* data,
             WeightWindows* windows, int group)
      : size_bytes_(static_cast<size_t>(space.bytes)), windows_(windows), group_(group) {
    weight_.data = data;
    if (space.scales_bytes > 0) {
      weight_.scales = reinterpret_cast<float*>(data + space.scales_offset);
    }
    weight_.dtype = format;
    weight_.in_features = static_cast<int32_t>(matrix.cols);
    weight_.out_features = static_cast<int32_t>(matrix.rows);
    weight_.row_bytes = space.row_bytes;
  }
  int32_t in_features() const override { return weight_.in_features; }
  int32_t out_features() const override { return weight_.out_features; }
  DType dtype() const override { return weight_.dtype; }
  size_t size_bytes() const override { return size_bytes_; }
  const gpu::Weight& weight() const { return weight_; }
  WeightWindows* windows() const { return windows_; }  // null: it stays in device memory
  int group() const { return group_; }

 private:
  const size_t size_bytes_;
  WeightWindows* const windows_;
  const int group_;
  DeviceBuffer data_;
  gpu::Weight weight_ = {};
};

const CudaWeight& WeightOf(const LinearWeight& weight) {
  return static_cast<const CudaWeight&>(weight);
}

class CudaRecording final : public OpRecording {
 public:
  CudaRecording(const GpuApi* api, gpu::Device* device, gpu::Recording* recording)
      : api_(api), device_(device), recording_(recording) {}
  ~CudaRecording() override { api_->free_recording(device_, recording_); }
  const gpu::Recording* recording() const { return recording_; }

 private:
  const GpuApi* const api_;
  gpu::Device* const device_;
  gpu::Recording* const recording_;
};

class CudaBackend final : public Backend {
 public:
  CudaBackend(const GpuApi* api, gpu::Device* device, const gpu::DeviceInfo& info,
              const CudaOptions& options)
      : api_(api),
        device_(device),
        info_(info),
        activations_(options.activations),
        numerics_class_(NumericsClass(info, options)),
        weight_upload_(std::make_unique<WeightUpload>(this, api, device)),
        step_upload_(std::make_unique<UploadRing>(this, api, device, gpu::StreamId::kCompute,
                                                  kStepBuffers)) {}
  ~CudaBackend() override {
    // What they hold belongs to the device.
    weight_upload_.reset();
    step_upload_.reset();
    readback_.Reset();
    api_->close(device_);
  }

  absl::string_view numerics_class() const override { return numerics_class_; }
  DType activation_dtype() const override { return activations_; }
  DType DefaultFormat(DType stored) const override {
    if (activations_ == DType::kF32) return stored;
    return stored == DType::kF32 || stored == DType::kF16 ? DType::kBf16 : stored;
  }
  DType int8_format() const override {
    return activations_ == DType::kF32 ? DType::kQ8_0 : DType::kI8;
  }
  std::string description() const override {
    return absl::StrCat(info_.name, ", sm_", info_.compute_major, info_.compute_minor, ", ",
                        FormatBytes(static_cast<int64_t>(info_.memory_bytes)));
  }

  absl::StatusOr<DeviceBuffer> Allocate(size_t size_bytes) override {
    void* data = nullptr;
    const int error = api_->allocate(device_, size_bytes, &data);
    if (error != 0) {
      return OutOfMemory(size_bytes, error);
    }
    return DeviceBuffer(data, size_bytes, &CudaBackend::Free, this);
  }
  absl::StatusOr<HostBuffer> AllocateHost(size_t size_bytes) override {
    void* data = nullptr;
    if (const int error = api_->allocate_host(device_, size_bytes, &data); error != 0) {
      return absl::ResourceExhaustedError(
          absl::StrCat(FormatBytes(static_cast<int64_t>(size_bytes)),
                       " of pinned host memory: ", api_->error_text(error)));
    }
    return HostBuffer(data, size_bytes, &CudaBackend::FreeHost, this);
  }
  absl::StatusOr<std::optional<int64_t>> FreeMemory() override {
    gpu::DeviceInfo info = {};
    LCKV_RETURN_IF_ERROR(GpuStatus(api_, "memory", api_->info(device_, &info)));
    return static_cast<int64_t>(info.free_bytes);
  }
  absl::StatusOr<std::unique_ptr<PageCopier>> MakePageCopier(
      const PageCopierOptions& options) override {
    return MakeCudaPageCopier(api_, device_, Clock::Real(), options);
  }
  void CopyToDevice(void* device, const void* host, size_t size_bytes) override {
    if (size_bytes == 0) return;
    Note(size_bytes <= step_upload_->capacity_bytes()
             ? step_upload_->Copy(device, host, size_bytes)
             : api_->copy_to_device(device_, device, host, size_bytes));
  }
  void CopyToHost(void* host, const void* device, size_t size_bytes) override {
    if (size_bytes == 0) return;
    Note(size_bytes <= readback_.size_bytes()
             ? ReadBack(host, device, size_bytes)
             : api_->copy_to_host(device_, host, device, size_bytes));
  }
  absl::Status ReserveStaging(size_t to_device_bytes, size_t to_host_bytes) override {
    LCKV_RETURN_IF_ERROR(step_upload_->Reserve(to_device_bytes));
    if (to_host_bytes <= readback_.size_bytes()) return absl::OkStatus();
    LCKV_ASSIGN_OR_RETURN(readback_, AllocateHost(to_host_bytes));
    return absl::OkStatus();
  }
  absl::Status Synchronize() override {
    Note(api_->synchronize(device_));
    return GpuStatus(api_, "step", error_);
  }

  absl::StatusOr<std::unique_ptr<LinearWeight>> PrepareLinear(const HostMatrix& matrix,
                                                              DType format) override;
  int64_t LinearBytes(int64_t rows, int64_t cols, DType format) const override {
    return CeilDiv(WeightSpace(rows, cols, format).bytes, kScalesAlignment) * kScalesAlignment;
  }
  absl::StatusOr<std::unique_ptr<WeightStream>> MakeWeightStream(
      absl::Span<const int64_t> group_bytes) override {
    LCKV_ASSIGN_OR_RETURN(auto windows,
                          WeightWindows::Create(this, api_, device_, group_bytes, &streaming_));
    streams_ = true;
    return windows;
  }
  absl::StatusOr<std::unique_ptr<LinearWeight>> PrepareStreamed(const HostMatrix& matrix,
                                                                DType format, WeightStream* stream,
                                                                int group) override;

  void Embed(const EmbedParams& params) override {
    const gpu::EmbedArgs args = {WeightOf(*params.table).weight(), params.tokens, params.rows,
                                 params.out};
    Queue(api_->embed, args);
  }
  void Linear(const LinearParams& params) override {
    const CudaWeight& weight = WeightOf(*params.weight);
    if (params.rows > 0) MakePresent(weight);
    const gpu::LinearArgs args = {weight.weight(), params.x,          params.bias,
                                  params.rows,     params.accumulate, params.out};
    Queue(api_->linear, args);
  }
  void RmsNorm(const RmsNormParams& params) override { Queue(api_->rms_norm, params); }
  void RopeAndStore(const RopeAndStoreParams& params) override {
    if (params.queries.rows > 0 || params.kv.rows > 0) {
      Note(api_->rope_and_store(device_, &params));
    }
  }
  void Attention(const AttentionParams& params) override { Queue(api_->attention, params); }
  void SwiGlu(const SwiGluParams& params) override { Queue(api_->swi_glu, params); }
  void KvChange(const KvChangeParams& params) override { Queue(api_->kv_change, params); }
  void GatherRows(const GatherRowsParams& params) override { Queue(api_->gather_rows, params); }
  void CopyRows(const CopyRowsParams& params) override { Queue(api_->copy_rows, params); }

  // Copies of weights between steps do not belong to one recording.
  bool can_record() const override { return !streams_; }
  void BeginRecording() override { recording_error_ = api_->begin_recording(device_); }
  absl::StatusOr<std::unique_ptr<OpRecording>> EndRecording() override;
  void Replay(const OpRecording& recording) override {
    Note(api_->replay(device_, static_cast<const CudaRecording&>(recording).recording()));
  }
  void Sample(const SampleParams& params) override { Queue(api_->sample, params); }
  void Crc32c(const Crc32cParams& params) override { Queue(api_->crc32c, params); }

 private:
  static std::string NumericsClass(const gpu::DeviceInfo& info, const CudaOptions& options) {
    if (options.activations == DType::kF32) return "cuda-f32-r1";
    return absl::StrCat("cuda-bf16-r1-sm_", info.compute_major, info.compute_minor, "-",
                        info.products, options.fast ? "-fast" : "");
  }
  absl::Status CheckFormat(DType format) const;
  absl::Status PrepareProduct(const gpu::Weight& weight);
  static void Free(void* context, void* data) {
    auto* backend = static_cast<CudaBackend*>(context);
    backend->api_->free(backend->device_, data);
  }
  static void FreeHost(void* context, void* data) {
    auto* backend = static_cast<CudaBackend*>(context);
    backend->api_->free_host(backend->device_, data);
  }
  absl::Status OutOfMemory(size_t size_bytes, int error) {
    const absl::StatusOr<std::optional<int64_t>> free_bytes = FreeMemory();
    return absl::ResourceExhaustedError(absl::StrCat(
        FormatBytes(static_cast<int64_t>(size_bytes)), " of GPU memory: ", api_->error_text(error),
        " (", free_bytes.ok() ? FormatBytes(**free_bytes) : "an unknown part", " of ",
        FormatBytes(static_cast<int64_t>(info_.memory_bytes)), " is free)"));
  }
  int ReadBack(void* host, const void* device, size_t size_bytes) {
    int error =
        api_->copy_async(device_, gpu::StreamId::kCompute, readback_.data(), device, size_bytes);
    if (error == 0) error = api_->synchronize(device_);
    if (error == 0) std::memcpy(host, readback_.data(), size_bytes);
    return error;
  }
  template <typename Args>
  void Queue(int (*op)(gpu::Device*, const Args*), const Args& args) {
    if (args.rows > 0) Note(op(device_, &args));
  }
  // The window of the group used last is given away when ops read another weight.
  void MakePresent(const CudaWeight& weight) {
    if (weight.windows() == streaming_ &&
        (streaming_ == nullptr || streaming_->acquired() == weight.group())) {
      return;
    }
    if (streaming_ != nullptr) Note(streaming_->Release());
    streaming_ = weight.windows();
    if (streaming_ != nullptr) Note(streaming_->Acquire(weight.group()));
  }
  // Keeps the first error.
  void Note(int error) {
    if (error_ == 0) error_ = error;
  }

  const GpuApi* const api_;
  gpu::Device* const device_;
  const gpu::DeviceInfo info_;
  const DType activations_;
  const std::string numerics_class_;
  std::unique_ptr<WeightUpload> weight_upload_;
  std::unique_ptr<UploadRing> step_upload_;
  HostBuffer readback_;                 // empty until ReserveStaging
  bool streams_ = false;                // a WeightStream was made
  WeightWindows* streaming_ = nullptr;  // has a group acquired
  int error_ = 0;
  int recording_error_ = 0;
};

absl::StatusOr<std::unique_ptr<OpRecording>> CudaBackend::EndRecording() {
  gpu::Recording* recording = nullptr;
  if (recording_error_ == 0) recording_error_ = api_->end_recording(device_, &recording);
  LCKV_RETURN_IF_ERROR(GpuStatus(api_, "recording", recording_error_));
  return std::make_unique<CudaRecording>(api_, device_, recording);
}

absl::StatusOr<std::unique_ptr<LinearWeight>> CudaBackend::PrepareLinear(const HostMatrix& matrix,
                                                                         DType format) {
  LCKV_RETURN_IF_ERROR(CheckWeight(matrix, format));
  LCKV_RETURN_IF_ERROR(CheckFormat(format));
  const WeightSpace space(matrix.rows, matrix.cols, format);
  LCKV_ASSIGN_OR_RETURN(DeviceBuffer data, Allocate(static_cast<size_t>(space.bytes)));
  std::vector<uint8_t> scales(static_cast<size_t>(space.scales_bytes));
  LCKV_RETURN_IF_ERROR(weight_upload_->Upload(matrix, format, space.row_bytes, data.bytes(),
                                              absl::MakeSpan(scales)));
  CopyToDevice(data.bytes() + space.scales_offset, scales.data(), scales.size());
  auto weight = std::make_unique<CudaWeight>(matrix, format, space, std::move(data));
  LCKV_RETURN_IF_ERROR(PrepareProduct(weight->weight()));
  return weight;
}

absl::StatusOr<std::unique_ptr<LinearWeight>> CudaBackend::PrepareStreamed(const HostMatrix& matrix,
                                                                           DType format,
                                                                           WeightStream* stream,
                                                                           int group) {
  LCKV_RETURN_IF_ERROR(CheckWeight(matrix, format));
  LCKV_RETURN_IF_ERROR(CheckFormat(format));
  const WeightSpace space(matrix.rows, matrix.cols, format);
  auto* windows = static_cast<WeightWindows*>(stream);
  LCKV_ASSIGN_OR_RETURN(const WeightWindows::Place place, windows->Add(group, space.bytes));
  ConvertWeight(
      matrix, 0, matrix.rows, format, space.row_bytes, place.host,
      absl::MakeSpan(place.host + space.scales_offset, static_cast<size_t>(space.scales_bytes)));
  auto weight = std::make_unique<CudaWeight>(matrix, format, space, place.device, windows, group);
  LCKV_RETURN_IF_ERROR(PrepareProduct(weight->weight()));
  return weight;
}

absl::Status CudaBackend::CheckFormat(DType format) const {
  if (format == DType::kFp8 && info_.compute_major * 10 + info_.compute_minor < 89) {
    return absl::InvalidArgumentError(
        absl::StrCat("fp8 weights need compute capability 8.9 or later; this GPU has ",
                     info_.compute_major, ".", info_.compute_minor));
  }
  return absl::OkStatus();
}

absl::Status CudaBackend::PrepareProduct(const gpu::Weight& weight) {
  if (activations_ == DType::kF32) return absl::OkStatus();
  char text[128];
  const std::string what =
      absl::StrCat(Name(weight.dtype), " [", weight.out_features, "][", weight.in_features, "]");
  if (const int error = api_->prepare_product(device_, &weight, text, sizeof(text)); error != 0) {
    return absl::InternalError(
        absl::StrCat("no product for weights ", what, ": ", api_->error_text(error)));
  }
  if (text[0] != '\0') LogInfo("matrix product", {{"weights", what}, {"algorithm", text}});
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Backend>> MakeCudaBackend(const GpuApi* api,
                                                         const CudaOptions& options) {
  const int ordinal = options.ordinal;
  if (options.activations != DType::kF32 && options.activations != DType::kBf16) {
    return absl::InvalidArgumentError(
        absl::StrCat("a GPU computes in f32 or bf16, not in ", Name(options.activations)));
  }
  if (options.fast && options.activations == DType::kF32) {
    return absl::InvalidArgumentError("fast products are bf16, not f32");
  }
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
  if (const int error = api->open(ordinal, options.fast, &device); error != 0) {
    const std::string message = absl::StrCat("GPU ", ordinal, ": ", api->error_text(error));
    return error == gpu::kUnsupportedDevice ? absl::FailedPreconditionError(message)
                                            : absl::InternalError(message);
  }
  gpu::DeviceInfo info = {};
  if (const int error = api->info(device, &info); error != 0) {
    api->close(device);
    return absl::InternalError(absl::StrCat("GPU ", ordinal, ": ", api->error_text(error)));
  }
  return std::make_unique<CudaBackend>(api, device, info, options);
}

}  // namespace lckv
