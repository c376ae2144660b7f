#include "engine/ops/cuda/weight_windows.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "base/units.h"
#include "engine/ops/cuda/gpu_status.h"

namespace lckv {
namespace {

using gpu::StreamId;

constexpr int64_t kAlignment = 256;  // of gpu::Weight

}  // namespace

WeightWindows::WeightWindows(const gpu::GpuApi* api, gpu::Device* device, WeightWindows** in_use)
    : api_(api),
      device_(device),
      in_use_(in_use),
      landed_(api, device, StreamId::kWeights),
      computed_(api, device, StreamId::kCompute) {}

WeightWindows::~WeightWindows() {
  if (*in_use_ == this) *in_use_ = nullptr;
  landed_.Wait(landed_.last());  // an error: there is nothing left to wait for
}

absl::StatusOr<std::unique_ptr<WeightWindows>> WeightWindows::Create(
    Backend* backend, const gpu::GpuApi* api, gpu::Device* device,
    absl::Span<const int64_t> group_bytes, WeightWindows** in_use) {
  LCKV_CHECK(!group_bytes.empty());
  std::unique_ptr<WeightWindows> windows(new WeightWindows(api, device, in_use));
  for (EventRing* ring : {&windows->landed_, &windows->computed_}) {
    LCKV_RETURN_IF_ERROR(GpuStatus(api, "weights", ring->Create()));
  }
  for (const int64_t bytes : group_bytes) {
    Group group;
    LCKV_ASSIGN_OR_RETURN(
        group.memory,
        backend->AllocateHost(static_cast<size_t>(CeilDiv(bytes, kAlignment) * kAlignment)));
    windows->groups_.push_back(std::move(group));
  }
  const int64_t largest = *std::max_element(group_bytes.begin(), group_bytes.end());
  for (size_t i = 0; i < std::min<size_t>(kWindows, group_bytes.size()); ++i) {
    LCKV_ASSIGN_OR_RETURN(
        windows->windows_[i].memory,
        backend->Allocate(static_cast<size_t>(CeilDiv(largest, kAlignment) * kAlignment)));
  }
  // Memory is zeroed on the compute stream: copies come behind it.
  LCKV_RETURN_IF_ERROR(GpuStatus(api, "weights", windows->computed_.Record()));
  for (Window& window : windows->windows_) window.computed = windows->computed_.last();
  return windows;
}

absl::StatusOr<WeightWindows::Place> WeightWindows::Add(int group, int64_t bytes) {
  if (group < 0 || static_cast<size_t>(group) >= groups_.size()) {
    return absl::InvalidArgumentError(absl::StrCat("weight group ", group, " of ", groups_.size()));
  }
  Group& to = groups_[static_cast<size_t>(group)];
  const int64_t begin = to.used;
  const int64_t end = begin + CeilDiv(bytes, kAlignment) * kAlignment;
  if (end > static_cast<int64_t>(to.memory.size_bytes())) {
    return absl::InvalidArgumentError(
        absl::StrCat("weight group ", group, " of ", to.memory.size_bytes(), " bytes is full"));
  }
  to.used = end;
  return Place{to.memory.bytes() + begin, windows_[group % kWindows].memory.bytes() + begin};
}

int WeightWindows::Fill(Window& window, int group) {
  const Group& from = groups_[static_cast<size_t>(group)];
  int error = computed_.StreamWait(StreamId::kWeights, window.computed);
  if (error == 0) {
    error = api_->copy_async(device_, StreamId::kWeights, window.memory.data(), from.memory.data(),
                             static_cast<uint64_t>(from.used));
  }
  if (error == 0) error = landed_.Record();
  if (error != 0) return error;
  window.holds = group;
  window.landed = landed_.last();
  return 0;
}

int WeightWindows::Acquire(int group) {
  LCKV_CHECK(acquired_ < 0);
  Window& window = windows_[group % kWindows];
  if (window.holds != group) {
    if (const int error = Fill(window, group); error != 0) return error;
  }
  acquired_ = group;
  return landed_.StreamWait(StreamId::kCompute, window.landed);
}

int WeightWindows::Release() {
  LCKV_CHECK(acquired_ >= 0);
  const int slot = std::exchange(acquired_, -1) % kWindows;
  Window& window = windows_[slot];
  if (const int error = computed_.Record(); error != 0) return error;
  window.computed = computed_.last();
  // The next in this window; after the last one, the first of the next step.
  int next = window.holds + kWindows;
  if (static_cast<size_t>(next) >= groups_.size()) next = slot;
  return next == window.holds ? 0 : Fill(window, next);
}

}  // namespace lckv
