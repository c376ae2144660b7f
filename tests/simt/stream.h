#pragma once

// The compute stream of the simulated GPU: work is done when it is queued, or kept while the stream
// records.

#include <functional>
#include <utility>
#include <vector>

namespace lckv::simt {

struct Stream {
  bool recording = false;
  std::vector<std::function<int()>> kept;
  std::function<void()> catch_up;  // does what the stream was given before
};

// `stream`: a simt::Stream or null. Returns what `work` returns, 0 if it is kept.
template <typename Work>
int Enqueue(void* stream, Work&& work) {
  auto* const queue = static_cast<Stream*>(stream);
  if (queue != nullptr && !queue->recording && queue->catch_up) queue->catch_up();
  if (queue == nullptr || !queue->recording) return work();
  queue->kept.emplace_back(std::forward<Work>(work));
  return 0;
}

}  // namespace lckv::simt
