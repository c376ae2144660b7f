#include "engine/ops/cpu/kernel_table_inl.h"
#include "engine/ops/cpu/vec_avx512.h"

namespace lckv::cpu {

const Kernels& Avx512Kernels() {
  static constexpr Kernels kKernels = MakeKernels<Avx512Vec>();
  return kKernels;
}

}  // namespace lckv::cpu
