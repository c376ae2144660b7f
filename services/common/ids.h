#pragma once

#include <cstdint>
#include <string>

namespace lckv {

// Random bits from the operating system: unguessable, and unique for all practical purposes.
// Thread-safe.
uint64_t RandomU64();
// 128 bits as 32 lower-case hexadecimal digits: ids of sessions, turns and traces.
std::string RandomId();

}  // namespace lckv
