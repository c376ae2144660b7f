#include "engine/ops/cpu/kernel_table_inl.h"
#include "engine/ops/cpu/vec_generic.h"

namespace lckv::cpu {

const Kernels& GenericKernels() {
  static constexpr Kernels kKernels = MakeKernels<GenericVec>();
  return kKernels;
}

}  // namespace lckv::cpu
