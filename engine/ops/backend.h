#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/ops/op_params.h"
#include "engine/ops/page_copier.h"
#include "engine/tensor/dtype.h"
#include "engine/tensor/host_matrix.h"

namespace lckv {

// Memory of a backend: host memory on the CPU, device memory on a GPU. Only the backend's ops and
// copies touch it. Move-only; freed on destruction, which must come before the backend's.
class DeviceBuffer {
 public:
  using Deleter = void (*)(void* context, void* data);
  DeviceBuffer() = default;
  DeviceBuffer(void* data, size_t size_bytes, Deleter deleter, void* context)
      : data_(data), size_bytes_(size_bytes), deleter_(deleter), context_(context) {}
  DeviceBuffer(DeviceBuffer&& other) noexcept;
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept;
  ~DeviceBuffer() { Reset(); }

  void* data() const { return data_; }
  float* floats() const { return static_cast<float*>(data_); }
  int32_t* ints() const { return static_cast<int32_t*>(data_); }
  uint8_t* bytes() const { return static_cast<uint8_t*>(data_); }
  size_t size_bytes() const { return size_bytes_; }
  void Reset();

 private:
  void* data_ = nullptr;
  size_t size_bytes_ = 0;
  Deleter deleter_ = nullptr;
  void* context_ = nullptr;
};

// The same handle over host memory that the device copies from and to at full speed (pinned).
using HostBuffer = DeviceBuffer;

// A weight matrix in the backend's own layout. Made by PrepareLinear; immutable; must die before
// its backend.
class LinearWeight {
 public:
  virtual ~LinearWeight() = default;
  virtual int32_t in_features() const = 0;
  virtual int32_t out_features() const = 0;
  virtual DType dtype() const = 0;
  virtual size_t size_bytes() const = 0;
};

// Weights of layers that device memory does not hold. They lie in pinned host memory, one group a
// layer, and come into a few windows of device memory while the layers before are computed: an op
// waits for the group of the weight that it reads, and with the first op that reads another weight
// the window is given to the next group. Quick when groups are used in ascending order, step by
// step; right in any order. Must die after its weights and before the backend.
class WeightStream {
 public:
  virtual ~WeightStream() = default;
};

// Ops that were recorded; see Backend::BeginRecording.
class OpRecording {
 public:
  virtual ~OpRecording() = default;
};

// As in op_params.h; these two need a LinearWeight.

// out[r] = row tokens[r] of `table`. Shapes: tokens int32 [rows], out [rows][table.in_features].
struct EmbedParams {
  const LinearWeight* table;
  const int32_t* tokens;  // each in [0, table.out_features): the caller has checked
  int32_t rows;
  float* out;
};

// out[r] (+)= W x[r] + bias. Shapes: x [rows][in_features], out [rows][out_features], bias
// [out_features] or null.
struct LinearParams {
  const LinearWeight* weight;
  ConstActivations x;
  const float* bias;
  int32_t rows;
  bool accumulate;  // add to what `out` holds (the residual stream): out + (W x + bias), in this
                    // order
  float* out;
};

// The one seam between the model and the machine: coarse operations over batches of rows. A row is
// one token of one sequence.
//
// Contract of every implementation (design rules 2 and 3): the bits computed for a row depend on
// that row's inputs and the model only: not on the other rows, their number, the chunk they came
// in, or the number of threads. Sums have one fixed order. Ops run in call order; they may be
// asynchronous until Synchronize or a copy to the host. Calls come from one thread at a time (the
// step loop). Ops cannot fail on valid input; a device error is reported by Synchronize and is
// fatal to the worker.
class Backend {
 public:
  virtual ~Backend() = default;

  // Everything that decides the bits: backend, kernel revision and what else matters, e.g.
  // "cpu-f32fma-r1". Instruction sets that give the same bits share a class.
  virtual absl::string_view numerics_class() const = 0;
  // Backend memory is host memory: callers may read and write it in place between ops.
  virtual bool memory_is_host() const { return false; }
  // Format of what products read (see Activations).
  virtual DType activation_dtype() const { return DType::kF32; }
  // What a matrix stored as `stored` becomes when the user names no format.
  virtual DType DefaultFormat(DType stored) const { return stored; }
  // What users mean by int8 here: blocks of 32 with a scale, or rows.
  virtual DType int8_format() const { return DType::kQ8_0; }
  // For people: device and instruction set.
  virtual std::string description() const = 0;

  // `size_bytes` of zeroed memory, aligned to 64 bytes at least (4096 from 64 KiB on).
  // RESOURCE_EXHAUSTED.
  virtual absl::StatusOr<DeviceBuffer> Allocate(size_t size_bytes) = 0;
  // `host` may be reused when it returns.
  virtual void CopyToDevice(void* device, const void* host, size_t size_bytes) = 0;
  // Complete when it returns.
  virtual void CopyToHost(void* host, const void* device, size_t size_bytes) = 0;
  virtual absl::Status Synchronize() = 0;

  // `size_bytes` of zeroed host memory, aligned to 64 bytes at least (4096 from 64 KiB on): pinned
  // where the device is not the host. Dear to make: at start only. RESOURCE_EXHAUSTED.
  virtual absl::StatusOr<HostBuffer> AllocateHost(size_t size_bytes);
  // From now on copies of up to so many bytes go through pinned memory of the backend's own:
  // CopyToDevice as one transfer that nobody waits for (unless several before it are still under
  // way), CopyToHost without the driver's staging. At start only; the largest sizes asked for
  // count. RESOURCE_EXHAUSTED, INTERNAL.
  virtual absl::Status ReserveStaging(size_t /*to_device_bytes*/, size_t /*to_host_bytes*/) {
    return absl::OkStatus();
  }
  // Device memory that Allocate could still hand out, about; nothing: memory_is_host(), where the
  // operating system knows better.
  virtual absl::StatusOr<std::optional<int64_t>> FreeMemory() { return std::nullopt; }
  // Null when memory_is_host(): pages are there already. RESOURCE_EXHAUSTED, INTERNAL.
  virtual absl::StatusOr<std::unique_ptr<PageCopier>> MakePageCopier(
      const PageCopierOptions& /*options*/) {
    return nullptr;
  }

  // Converts `matrix` to `format` and this backend's layout; kF32, kF16, kBf16 keep or convert,
  // the others quantise unless the matrix is stored so already. INVALID_ARGUMENT when cols is no
  // multiple of UnitOf(format), or the machine has no products of this format;
  // RESOURCE_EXHAUSTED. The host data is not
  // needed afterwards. Runs on all threads.
  virtual absl::StatusOr<std::unique_ptr<LinearWeight>> PrepareLinear(const HostMatrix& matrix,
                                                                      DType format) = 0;

  // Bytes that a matrix takes in a WeightStream, and about those in device memory.
  virtual int64_t LinearBytes(int64_t rows, int64_t cols, DType format) const;
  // Room for groups of `group_bytes[g]` (sums of LinearBytes). From then on nothing is recorded:
  // can_record() is false. RESOURCE_EXHAUSTED (host or device memory), INVALID_ARGUMENT:
  // memory_is_host().
  virtual absl::StatusOr<std::unique_ptr<WeightStream>> MakeWeightStream(
      absl::Span<const int64_t> group_bytes);
  // As PrepareLinear, but the weight lies in group `group` of `stream`.
  virtual absl::StatusOr<std::unique_ptr<LinearWeight>> PrepareStreamed(const HostMatrix& matrix,
                                                                        DType format,
                                                                        WeightStream* stream,
                                                                        int group);

  virtual void Embed(const EmbedParams& params) = 0;
  virtual void RmsNorm(const RmsNormParams& params) = 0;
  virtual void Linear(const LinearParams& params) = 0;
  virtual void RopeAndStore(const RopeAndStoreParams& params) = 0;
  virtual void Attention(const AttentionParams& params) = 0;
  virtual void SwiGlu(const SwiGluParams& params) = 0;
  virtual void KvChange(const KvChangeParams& params) = 0;
  virtual void GatherRows(const GatherRowsParams& params) = 0;
  virtual void CopyRows(const CopyRowsParams& params) = 0;

  // Recording: the ops between BeginRecording and EndRecording are kept instead of executed, and
  // Replay queues all of them at once (a CUDA graph): the same ops with the same parameters over
  // whatever the memory holds then. Only ops may be called while recording, and each must have run
  // with these sizes before. A recording must die before the backend.
  virtual bool can_record() const { return false; }
  virtual void BeginRecording() {}
  // INTERNAL: nothing was kept, and the backend goes on without it.
  virtual absl::StatusOr<std::unique_ptr<OpRecording>> EndRecording();
  virtual void Replay(const OpRecording& /*recording*/) {}
  // The same tokens on every backend.
  virtual void Sample(const SampleParams& params) = 0;
  virtual void Crc32c(const Crc32cParams& params) = 0;
};

// The slow, obvious twin: scalar loops, double accumulation, one thread. The oracle of tests.
std::unique_ptr<Backend> MakeReferenceBackend();

struct CpuBackendOptions {
  int num_threads = 0;  // 0: one per core
  // "" = best that the machine has; "generic", "avx2", "avx512": forced. FAILED_PRECONDITION when
  // the machine lacks it.
  std::string isa;
};
absl::StatusOr<std::unique_ptr<Backend>> MakeCpuBackend(const CpuBackendOptions& options);

}  // namespace lckv
