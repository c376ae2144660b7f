#include "engine/ops/host_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace lckv {
namespace {

constexpr size_t kHugePageBytes = size_t{2} << 20;

size_t AlignmentFor(size_t size_bytes) {
  if (size_bytes >= 2 * kHugePageBytes) return kHugePageBytes;
  return size_bytes >= (size_t{64} << 10) ? 4096 : 64;
}

void FreeHostMemory(void* /*context*/, void* data) { std::free(data); }

}  // namespace

absl::StatusOr<DeviceBuffer> AllocateHostMemory(size_t size_bytes) {
  const auto exhausted = [size_bytes] {
    return absl::ResourceExhaustedError(absl::StrCat("cannot allocate ", size_bytes, " bytes"));
  };
  if (size_bytes > static_cast<size_t>(PTRDIFF_MAX) - kHugePageBytes) return exhausted();
  const size_t alignment = AlignmentFor(size_bytes);
  // aligned_alloc wants a multiple of the alignment; an empty buffer still gets an address of its
  // own.
  const size_t padded_bytes =
      std::max(size_bytes + alignment - 1, alignment) / alignment * alignment;
  void* data = std::aligned_alloc(alignment, padded_bytes);
  if (data == nullptr) return exhausted();
  // Advice only: without huge pages the memory works the same.
  if (alignment == kHugePageBytes) (void)::madvise(data, padded_bytes, MADV_HUGEPAGE);
  std::memset(data, 0, padded_bytes);
  return DeviceBuffer(data, size_bytes, &FreeHostMemory, nullptr);
}

}  // namespace lckv
