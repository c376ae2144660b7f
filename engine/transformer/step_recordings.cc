#include "engine/transformer/step_recordings.h"

#include <algorithm>
#include <utility>

#include "base/log.h"

namespace lckv {

void StepRecordings::Run(const StepShape& shape, const std::function<void()>& ops) {
  if (!works_) return ops();
  ++uses_;
  Entry* const entry = Find(shape);
  if (entry == nullptr) {
    Add(shape);
    return ops();
  }
  entry->last_used = uses_;
  if (entry->recording == nullptr) Record(*entry, ops);
  if (entry->recording == nullptr) return ops();
  backend_->Replay(*entry->recording);
  ++replays_;
}

StepRecordings::Entry* StepRecordings::Find(const StepShape& shape) {
  const auto it = std::find_if(entries_.begin(), entries_.end(),
                               [&](const Entry& entry) { return entry.shape == shape; });
  return it == entries_.end() ? nullptr : &*it;
}

void StepRecordings::Add(const StepShape& shape) {
  if (entries_.size() == kMost) {
    entries_.erase(
        std::min_element(entries_.begin(), entries_.end(),
                         [](const Entry& a, const Entry& b) { return a.last_used < b.last_used; }));
  }
  entries_.push_back({shape, uses_, nullptr});
}

void StepRecordings::Record(Entry& entry, const std::function<void()>& ops) {
  backend_->BeginRecording();
  ops();
  auto recording = backend_->EndRecording();
  if (recording.ok()) {
    entry.recording = *std::move(recording);
    return;
  }
  LogError("steps go on without recordings", {{"error", recording.status().ToString()}});
  works_ = false;
}

}  // namespace lckv
