#include "engine/ops/cpu/kernel_table_inl.h"
#include "engine/ops/cpu/vec_avx2.h"

namespace lckv::cpu {

const Kernels& Avx2Kernels() {
  static constexpr Kernels kKernels = MakeKernels<Avx2Vec>();
  return kKernels;
}

}  // namespace lckv::cpu
