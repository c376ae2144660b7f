#pragma once

#include "engine/ops/cpu/attention_inl.h"
#include "engine/ops/cpu/kernels.h"
#include "engine/ops/cpu/linear_inl.h"
#include "engine/ops/cpu/rows_inl.h"

namespace lckv::cpu {

// The kernels over one vector type. V has internal linkage, so every instantiation has.
template <class V>
constexpr Kernels MakeKernels() {
  return {.linear = &Linear<V>,
          .rms_norm = &RmsNorm<V>,
          .rope = &Rope<V>,
          .swi_glu = &SwiGlu<V>,
          .store_kv = &StoreKv<V>,
          .kv_change = &KvChange<V>,
          .attend = &Attend<V>};
}

}  // namespace lckv::cpu
