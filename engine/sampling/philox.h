#pragma once

#include <array>
#include <cstdint>

namespace lckv {

// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): a
// counter-based generator, so the number for a position needs no history. Same results on every
// backend.
std::array<uint32_t, 4> Philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

// Uniform in [0, 1) with 53 bits, for the token at `position` of a session sampled with `seed`.
double UniformAt(uint64_t seed, uint64_t position);

}  // namespace lckv
