#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "absl/types/span.h"

namespace lckv {

// A page's place in the cache node's arena, as Reserve and Acquire hand it out. Never a raw
// address: region and generation are checked by the cache node against a live reservation or read
// lease.
struct PageExtent {
  uint64_t region = 0;
  uint64_t generation = 0;
  uint64_t offset_bytes = 0;
  uint64_t length_bytes = 0;
};

struct PageWrite {
  uint32_t extent_index = 0;  // in the reservation
  PageExtent extent;
  const void* data = nullptr;  // extent.length_bytes bytes; stays valid until the call returns
};

struct PageRead {
  uint32_t extent_index = 0;  // in the Acquire response
  PageExtent extent;
  void* data = nullptr;  // extent.length_bytes bytes; filled completely when the call returns OK
};

// Moves page bytes between a worker and the cache node's arena. One-sided in spirit: the control
// plane (Reserve, Commit, Acquire, Release) says where, this says how. gRPC streams stand behind it
// now, UCX later. Thread-safe; calls block until done or `deadline`: never call from a gRPC
// callback or the step loop. Errors: DEADLINE_EXCEEDED, UNAVAILABLE, NOT_FOUND (reservation or
// lease is gone), INVALID_ARGUMENT. After an error the destination's bytes are undefined. Checksums
// are the callers' business.
class PageTransport {
 public:
  virtual ~PageTransport() = default;
  virtual absl::Status Write(uint64_t reservation, absl::Span<const PageWrite> pages,
                             absl::Time deadline) = 0;
  virtual absl::Status Read(uint64_t read_lease, absl::Span<const PageRead> pages,
                            absl::Time deadline) = 0;
};

}  // namespace lckv
