#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/ops/backend.h"
#include "engine/ops/cuda/event_ring.h"
#include "engine/ops/cuda/gpu_api.h"

namespace lckv {

// The groups of a WeightStream: each lies in pinned host memory just as it will on the device, and
// group g comes into window g % 2 by one copy. A copy into a window begins when the group before it
// there has been computed, so that the link works all the time while steps follow each other; the
// ops of a group begin when its copy has landed. Weights have the window's addresses for good.
//
// For one thread, the backend's. Functions return the library's error codes.
class WeightWindows final : public WeightStream {
 public:
  // All must outlive the windows; where `*in_use` points to them at their end, it becomes null.
  // RESOURCE_EXHAUSTED, INTERNAL.
  static absl::StatusOr<std::unique_ptr<WeightWindows>> Create(
      Backend* backend, const gpu::GpuApi* api, gpu::Device* device,
      absl::Span<const int64_t> group_bytes, WeightWindows** in_use);
  // Waits for copies under way.
  ~WeightWindows() override;

  // Where the next weight of a group lies on the host, which the caller fills, and will lie on the
  // device. Multiples of 256 bytes. INVALID_ARGUMENT: no such group, or it is full.
  struct Place {
    uint8_t* host = nullptr;
    uint8_t* device = nullptr;
  };
  absl::StatusOr<Place> Add(int group, int64_t bytes);

  // What is queued on the compute stream from now on may read `group`.
  int Acquire(int group);
  // What was queued so far was all that reads the group acquired last: its window is filled again.
  int Release();
  // The group acquired and not released; -1: none.
  int acquired() const { return acquired_; }

 private:
  static constexpr int kWindows = 2;
  struct Group {
    HostBuffer memory;
    int64_t used = 0;
  };
  struct Window {
    DeviceBuffer memory;
    int holds = -1;         // the group that is there or on its way
    uint64_t landed = 0;    // in landed_: its copy's end
    uint64_t computed = 0;  // in computed_: the end of what read the window last
  };

  WeightWindows(const gpu::GpuApi* api, gpu::Device* device, WeightWindows** in_use);
  int Fill(Window& window, int group);

  const gpu::GpuApi* const api_;
  gpu::Device* const device_;
  WeightWindows** const in_use_;
  EventRing landed_;    // on kWeights
  EventRing computed_;  // on kCompute
  std::vector<Group> groups_;
  std::array<Window, kWindows> windows_;
  int acquired_ = -1;
};

}  // namespace lckv
