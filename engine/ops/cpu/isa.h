#pragma once

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace lckv::cpu {

// Instruction sets that the kernels are compiled for. All give the same bits; later ones are
// faster.
enum class Isa { kGeneric, kAvx2, kAvx512 };

// "generic" "avx2" "avx512"
absl::string_view Name(Isa isa);

// Whether this machine, its operating system and this binary can run `isa`.
bool IsSupported(Isa isa);

// The best supported instruction set for "", else the named one. INVALID_ARGUMENT for an unknown
// name, FAILED_PRECONDITION for one that this machine lacks: a forced choice never falls back
// silently.
absl::StatusOr<Isa> ChooseIsa(absl::string_view forced);

}  // namespace lckv::cpu
