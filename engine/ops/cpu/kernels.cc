#include "engine/ops/cpu/kernels.h"

#include "base/check.h"

namespace lckv::cpu {

const Kernels& KernelsFor(Isa isa) {
  LCKV_CHECK(IsSupported(isa));
#if defined(__x86_64__)
  if (isa == Isa::kAvx512) return Avx512Kernels();
  if (isa == Isa::kAvx2) return Avx2Kernels();
#endif
  return GenericKernels();
}

}  // namespace lckv::cpu
