#pragma once

#include <cstddef>
#include <cstdint>

namespace lckv {

// CRC-32C (Castagnoli polynomial 0x1EDC6F41, reflected, initial and final XOR 0xFFFFFFFF), as in
// RFC 3720 section B.4. Uses the processor's instruction where there is one. Extend(Crc32c(a), b)
// == Crc32c(a || b).
uint32_t Crc32c(const void* data, size_t size);
uint32_t ExtendCrc32c(uint32_t crc, const void* data, size_t size);

namespace internal {
// The table-driven twin, for machines without the instruction and for tests.
uint32_t ExtendCrc32cPortable(uint32_t crc, const void* data, size_t size);
}  // namespace internal

}  // namespace lckv
