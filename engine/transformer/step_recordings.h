#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "engine/ops/backend.h"

namespace lckv {

// Everything about a step that reaches an op as a plain number: steps of one shape differ in what
// lies in memory only, so that the ops recorded for one serve all (see StepBatch::shape).
using StepShape = std::array<int32_t, 11>;

// The recordings of the shapes seen last (CUDA graphs, one for a decode batch of a size, one for a
// pass over a chunk of a size). A shape is executed as it is the first time and recorded the second
// time. At most kMost; the one not used for longest makes room. One thread.
class StepRecordings {
 public:
  static constexpr size_t kMost = 64;

  // `backend` must outlive the recordings.
  explicit StepRecordings(Backend* backend) : backend_(backend), works_(backend->can_record()) {}

  // Executes `ops`, which queues the same ops whenever the shape is the same, or replays what they
  // were.
  void Run(const StepShape& shape, const std::function<void()>& ops);
  // For tests.
  int64_t replays() const { return replays_; }

 private:
  struct Entry {
    StepShape shape = {};
    int64_t last_used = 0;
    std::unique_ptr<OpRecording> recording;  // null: seen once
  };
  Entry* Find(const StepShape& shape);
  void Add(const StepShape& shape);
  void Record(Entry& entry, const std::function<void()>& ops);

  Backend* const backend_;
  bool works_;
  int64_t uses_ = 0;
  int64_t replays_ = 0;
  std::vector<Entry> entries_;
};

}  // namespace lckv
