#pragma once

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace lckv {

// Moves KV pages between pinned host memory (Backend::AllocateHost) and device memory, beside the
// computation: one queue into the device and one out of it, each in order and with a bandwidth
// limit of its own. Made by Backend::MakePageCopier; must die before its backend.
//
// Threads: MarkCompute belongs to the backend's thread (the step loop's); everything else may be
// called from any thread, the step loop's excepted, since it may block. Nothing is allocated after
// construction. A page is one contiguous transfer.
//
// Order: a copy starts after the computation that its mark covers. What it copies is there when
// Wait has returned; computation that is queued later sees it. Memory of a copy under way may be
// neither freed nor used for anything else: whoever queues one waits for it first.
//
// Errors are INTERNAL, come with whichever call notices them, and are final: the device is lost.
class PageCopier {
 public:
  enum class Direction { kIn, kOut };  // into the device, out of it
  // A place in the backend's queue of work: all that was queued before. 0: nothing.
  using Mark = uint64_t;
  // A place in a direction's queue: a copy and all before it. 0: nothing.
  using Ticket = uint64_t;

  virtual ~PageCopier() = default;

  // The work queued so far. Does not block; an error shows in the copy that names the mark.
  virtual Mark MarkCompute() = 0;
  // Queues a copy of `size_bytes` from `from` to `to` that begins after `after`; blocks only while
  // the bandwidth limit says so.
  virtual absl::StatusOr<Ticket> Copy(Direction direction, void* to, const void* from,
                                      size_t size_bytes, Mark after) = 0;
  // Blocks until the direction's copies up to `ticket` are complete.
  virtual absl::Status Wait(Direction direction, Ticket ticket) = 0;
};

struct PageCopierOptions {
  // Of each direction; 0: as fast as it goes. Lower: restores take longer and computation, which
  // shares the device's memory bandwidth, is disturbed less.
  int64_t bytes_per_second = 0;
};

}  // namespace lckv
