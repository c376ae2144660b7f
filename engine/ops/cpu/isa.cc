#include "engine/ops/cpu/isa.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "absl/strings/str_cat.h"

namespace lckv::cpu {
namespace {

constexpr Isa kAll[] = {Isa::kGeneric, Isa::kAvx2, Isa::kAvx512};

#if defined(__x86_64__)
// __builtin_cpu_supports of older compilers does not know f16c; the rest it checks together with
// the operating system.
bool HasF16c() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & (1u << 29)) != 0;
}

bool HasAvx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && HasF16c();
}

bool HasAvx512() {
  return HasAvx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}
#else
bool HasAvx2() { return false; }
bool HasAvx512() { return false; }
#endif

}  // namespace

absl::string_view Name(Isa isa) {
  switch (isa) {
    case Isa::kGeneric:
      return "generic";
    case Isa::kAvx2:
      return "avx2";
    case Isa::kAvx512:
      return "avx512";
  }
  return "?";
}

bool IsSupported(Isa isa) {
  switch (isa) {
    case Isa::kGeneric:
      return true;
    case Isa::kAvx2:
      return HasAvx2();
    case Isa::kAvx512:
      return HasAvx512();
  }
  return false;
}

absl::StatusOr<Isa> ChooseIsa(absl::string_view forced) {
  Isa best = Isa::kGeneric;
  for (Isa isa : kAll) {
    if (forced == Name(isa)) {
      if (IsSupported(isa)) return isa;
      return absl::FailedPreconditionError(
          absl::StrCat("this machine lacks the instruction set \"", forced, "\""));
    }
    if (IsSupported(isa)) best = isa;
  }
  if (!forced.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("unknown instruction set \"", forced, "\" (generic, avx2 or avx512)"));
  }
  return best;
}

}  // namespace lckv::cpu
