#pragma once

#include <cstdint>
#include <vector>

#include "engine/ops/backend.h"
#include "engine/ops/cpu/kernels.h"
#include "engine/ops/cpu/thread_pool.h"
#include "engine/ops/kv_address.h"

namespace lckv::cpu {

// Attention on the CPU: cuts the rows into work for the threads, walks the pages, and hands blocks
// of positions to the kernel. The softmax is online, so the scratch is a constant size per thread,
// however long the context.
class CpuAttention {
 public:
  // Both must outlive this.
  CpuAttention(const Kernels& kernels, ThreadPool& pool);

  // As Backend::Attention. REQUIRES: head_dim <= kMaxHeadDim.
  void Run(const AttentionParams& params);

 private:
  struct Scratch {
    AttentionState state;
    AttentionBlock block;
  };

  // Query heads [first_head, first_head + heads) of one row, all on the same kv head.
  void Attend(const AttentionParams& params, int64_t row, int32_t first_head, int32_t heads,
              Scratch& scratch) const;

  const Kernels& kernels_;
  ThreadPool& pool_;
  std::vector<Scratch> scratch_;  // one per thread
};

}  // namespace lckv::cpu
