#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/crc32c.h"
#include "base/status_macros.h"
#include "engine/ops/backend.h"
#include "engine/ops/cpu/cpu_attention.h"
#include "engine/ops/cpu/isa.h"
#include "engine/ops/cpu/kernels.h"
#include "engine/ops/cpu/packed_weight.h"
#include "engine/ops/cpu/thread_pool.h"
#include "engine/ops/host_memory.h"
#include "engine/ops/kv_address.h"
#include "engine/sampling/sampler.h"

namespace lckv {
namespace cpu {
namespace {

// Work of a vector exp and of a cache miss, in the pool's unit (fused multiply-adds).
constexpr int64_t kExpWork = 4;
// Bytes whose checksum takes as long as one unit.
constexpr int64_t kCrcBytes = 4;

class CpuBackend final : public Backend {
 public:
  CpuBackend(Isa isa, std::unique_ptr<ThreadPool> pool)
      : isa_(isa),
        kernels_(KernelsFor(isa)),
        pool_(std::move(pool)),
        linear_scratch_(static_cast<size_t>(pool_->num_threads())),
        samplers_(static_cast<size_t>(pool_->num_threads())),
        attention_(kernels_, *pool_) {}

  absl::string_view numerics_class() const override { return "cpu-f32fma-r1"; }
  bool memory_is_host() const override { return true; }
  std::string description() const override {
    return absl::StrCat("CPU, ", Name(isa_), ", ", pool_->num_threads(), " threads");
  }

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
    LCKV_ASSIGN_OR_RETURN(std::unique_ptr<PackedWeight> weight,
                          PackedWeight::Create(matrix, format, *pool_));
    return weight;
  }

  void Embed(const EmbedParams& params) override {
    const auto& table = static_cast<const PackedWeight&>(*params.table);
    const int64_t size = table.in_features();
    // Each weight is a cache line of its own.
    pool_->ParallelFor(params.rows, 8 * size, [&](int64_t begin, int64_t end, int /*thread*/) {
      for (int64_t r = begin; r < end; ++r)
        table.RestoreRow(params.tokens[r], params.out + r * size);
    });
  }

  void RmsNorm(const RmsNormParams& params) override {
    const int64_t size = params.size;
    pool_->ParallelFor(params.rows, size, [&](int64_t begin, int64_t end, int /*thread*/) {
      for (int64_t r = begin; r < end; ++r) {
        kernels_.rms_norm(params.x + r * size, params.weight, params.eps, params.size,
                          params.out.floats() + r * size);
      }
    });
  }

  void Linear(const LinearParams& params) override;

  void RopeAndStore(const RopeAndStoreParams& params) override {
    Rotate(params.queries, params.cos_sin);
    Store(params.kv, params.cos_sin);
  }
  void Attention(const AttentionParams& params) override { attention_.Run(params); }

  void SwiGlu(const SwiGluParams& params) override {
    // Whole vectors to each thread; results do not depend on the cut, speed does.
    const int64_t count = static_cast<int64_t>(params.rows) * params.size;
    const int64_t vectors = (count + kPanel - 1) / kPanel;
    pool_->ParallelFor(vectors, kPanel * kExpWork, [&](int64_t begin, int64_t end, int /*thread*/) {
      const int64_t first = begin * kPanel;
      const int64_t last = std::min(end * kPanel, count);
      kernels_.swi_glu(params.gate + first, params.up + first, last - first,
                       params.out.floats() + first);
    });
  }

  void KvChange(const KvChangeParams& params) override;

  void GatherRows(const GatherRowsParams& params) override {
    const int64_t size = params.size;
    pool_->ParallelFor(params.rows, size, [&](int64_t begin, int64_t end, int /*thread*/) {
      for (int64_t r = begin; r < end; ++r) {
        std::memcpy(params.out + r * size, params.x + params.indices[r] * size,
                    static_cast<size_t>(size) * sizeof(float));
      }
    });
  }

  void CopyRows(const CopyRowsParams& params) override {
    pool_->ParallelFor(params.rows, params.size, [&](int64_t begin, int64_t end, int /*thread*/) {
      for (int64_t r = begin; r < end; ++r) {
        std::memcpy(params.to[r], params.from[r], static_cast<size_t>(params.size) * sizeof(float));
      }
    });
  }

  void Sample(const SampleParams& params) override {
    const auto vocab = static_cast<size_t>(params.vocab);
    pool_->ParallelFor(
        params.rows, int64_t{params.vocab} * kExpWork, [&](int64_t begin, int64_t end, int thread) {
          for (int64_t r = begin; r < end; ++r) {
            const SampleRow& choice = params.choices[r];
            params.out[r] = samplers_[static_cast<size_t>(thread)].Sample(
                {params.logits + r * params.vocab, vocab}, choice.options, choice.position);
          }
        });
  }

  void Crc32c(const Crc32cParams& params) override {
    const auto size = static_cast<size_t>(params.page_bytes);
    pool_->ParallelFor(params.rows, params.page_bytes / kCrcBytes,
                       [&](int64_t begin, int64_t end, int /*thread*/) {
                         for (int64_t r = begin; r < end; ++r) {
                           params.out[r] = lckv::Crc32c(params.pages[r], size);
                         }
                       });
  }

 private:
  void Rotate(const QueryRows& queries, const float* cos_sin);
  void Store(const KvRows& kv, const float* cos_sin);

  const Isa isa_;
  const Kernels& kernels_;
  const std::unique_ptr<ThreadPool> pool_;
  std::vector<LinearScratch> linear_scratch_;  // one per thread
  std::vector<Sampler> samplers_;              // one per thread
  CpuAttention attention_;
};

void CpuBackend::Linear(const LinearParams& params) {
  const auto& weight = static_cast<const PackedWeight&>(*params.weight);
  const LinearArgs args = {.panels = weight.panels(),
                           .panel_bytes = weight.panel_bytes(),
                           .dtype = weight.dtype(),
                           .in_features = weight.in_features(),
                           .out_features = weight.out_features(),
                           .x = params.x.floats(),
                           .bias = params.bias,
                           .rows = params.rows,
                           .accumulate = params.accumulate,
                           .out = params.out};
  const int64_t row_blocks = (static_cast<int64_t>(params.rows) + kRowBlock - 1) / kRowBlock;
  const int64_t panels = (static_cast<int64_t>(args.out_features) + kPanel - 1) / kPanel;
  const int64_t rows = std::min<int64_t>(params.rows, kRowBlock);
  const int64_t panel_work = rows * args.in_features * kPanel / 2;
  pool_->ParallelFor(row_blocks * panels, panel_work, [&](int64_t begin, int64_t end, int thread) {
    kernels_.linear(args, begin, end, linear_scratch_[static_cast<size_t>(thread)]);
  });
}

void CpuBackend::Rotate(const QueryRows& queries, const float* cos_sin) {
  const int32_t head_dim = queries.head_dim;
  const int64_t row_size = static_cast<int64_t>(queries.heads) * head_dim;
  pool_->ParallelFor(queries.rows, row_size, [&](int64_t begin, int64_t end, int /*thread*/) {
    for (int64_t r = begin; r < end; ++r) {
      float* q = queries.q + r * row_size;
      const int64_t position = queries.positions[r];
      kernels_.rope(cos_sin + position * head_dim, queries.heads, head_dim, q, q);
    }
  });
}

void CpuBackend::Store(const KvRows& kv, const float* cos_sin) {
  const KvShape& shape = kv.shape;
  LCKV_CHECK(shape.head_dim <= kMaxHeadDim);
  const int64_t value_bytes = BytesOf(kv.dtype, 1);
  const int64_t row_size = static_cast<int64_t>(shape.kv_heads) * shape.head_dim;
  pool_->ParallelFor(kv.rows, row_size, [&](int64_t begin, int64_t end, int /*thread*/) {
    float rotated[kMaxHeadDim];
    for (int64_t r = begin; r < end; ++r) {
      const int64_t from = kv.source == nullptr ? r : kv.source[r];
      const int32_t position = kv.positions[r];
      uint8_t* page = KvOwnPage(kv.tables[kv.table_of_row[r]], shape, position);
      for (int32_t h = 0; h < shape.kv_heads; ++h) {
        const int64_t offset = from * row_size + static_cast<int64_t>(h) * shape.head_dim;
        uint8_t* key = KvKey(page, shape, h, position, value_bytes);
        const float* k = kv.k + offset;
        if (cos_sin != nullptr) {
          kernels_.rope(cos_sin + int64_t{position} * shape.head_dim, 1, shape.head_dim, k,
                        rotated);
          k = rotated;
        }
        kernels_.store_kv(k, shape.head_dim, kv.dtype, key);
        kernels_.store_kv(kv.v + offset, shape.head_dim, kv.dtype, key + shape.value_offset_bytes);
      }
    }
  });
}

void CpuBackend::KvChange(const KvChangeParams& params) {
  const KvShape& shape = params.shape;
  const int64_t value_bytes = BytesOf(params.dtype, 1);
  const int64_t row_work = int64_t{4} * shape.kv_heads * shape.head_dim;
  pool_->ParallelFor(params.rows, row_work, [&](int64_t begin, int64_t end, int /*thread*/) {
    for (int64_t r = begin; r < end; ++r) {
      const int32_t position = params.positions[r];
      uint8_t* before = KvOwnPage(params.previous[params.table_of_row[r]], shape, position);
      uint8_t* after = KvOwnPage(params.current[params.table_of_row[r]], shape, position);
      float change = 0;
      float norm = 0;
      for (int32_t h = 0; h < shape.kv_heads; ++h) {
        const uint8_t* k0 = KvKey(before, shape, h, position, value_bytes);
        const uint8_t* k1 = KvKey(after, shape, h, position, value_bytes);
        kernels_.kv_change(k0, k1, shape.head_dim, params.dtype, change, norm);
        kernels_.kv_change(k0 + shape.value_offset_bytes, k1 + shape.value_offset_bytes,
                           shape.head_dim, params.dtype, change, norm);
      }
      params.out[r] =
          std::sqrt(change) / std::max(std::sqrt(norm), std::numeric_limits<float>::min());
    }
  });
}

}  // namespace
}  // namespace cpu

absl::StatusOr<std::unique_ptr<Backend>> MakeCpuBackend(const CpuBackendOptions& options) {
  LCKV_ASSIGN_OR_RETURN(const cpu::Isa isa, cpu::ChooseIsa(options.isa));
  int num_threads = options.num_threads;
  if (num_threads == 0) num_threads = std::max(1u, std::thread::hardware_concurrency());
  LCKV_ASSIGN_OR_RETURN(std::unique_ptr<cpu::ThreadPool> pool,
                        cpu::ThreadPool::Create(num_threads));
  return std::make_unique<cpu::CpuBackend>(isa, std::move(pool));
}

}  // namespace lckv
