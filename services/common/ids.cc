#include "services/common/ids.h"

#include <sys/random.h>

#include "absl/strings/str_format.h"
#include "base/check.h"

namespace lckv {

uint64_t RandomU64() {
  uint64_t value = 0;
  // Requests of up to 256 bytes are never cut short once the kernel's generator is seeded.
  LCKV_CHECK(getrandom(&value, sizeof(value), 0) == static_cast<ssize_t>(sizeof(value)));
  return value;
}

std::string RandomId() { return absl::StrFormat("%016x%016x", RandomU64(), RandomU64()); }

}  // namespace lckv
