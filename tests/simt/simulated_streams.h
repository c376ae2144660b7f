#pragma once

// Streams, events and pinned memory of the simulated GPU. Kernels are done when their call returns.
// Copies are too, unless they are late: then they wait until somebody waits for an event behind
// them (on the compute stream: or for its next kernel), so that whoever does not wait finds the
// bytes of before. Thread-safe.

#include <cstdint>
#include <deque>
#include <mutex>

#include "engine/ops/cuda/gpu_api.h"

namespace lckv::gpu {

// So many operations had been queued on the stream before it. Guarded by the streams' mutex.
struct Event {
  int32_t stream = 0;
  uint64_t position = 0;
};

}  // namespace lckv::gpu

namespace lckv::simt {

class SimulatedStreams {
 public:
  explicit SimulatedStreams(bool late) : late_(late) {}

  void Copy(gpu::StreamId stream, void* to, const void* from, uint64_t bytes);
  void Record(gpu::StreamId stream, gpu::Event* event);
  void Wait(gpu::StreamId stream, const gpu::Event* event);
  void WaitOnHost(const gpu::Event* event);
  // The compute stream does everything it was given, as before whatever it is given next.
  void CatchUp();
  // As freeing memory on a GPU does.
  void WaitForAll();

 private:
  struct Operation {
    void* to;  // null: the stream waits for `place`
    const void* from;
    uint64_t bytes;
    gpu::Event place;
  };
  struct Stream {
    std::deque<Operation> queued;
    uint64_t done = 0;
  };
  static constexpr int kStreams = 4;

  Stream& Of(gpu::StreamId stream) { return streams_[static_cast<int32_t>(stream)]; }
  void Push(gpu::StreamId stream, const Operation& operation);
  void RunUntil(const gpu::Event& place);

  const bool late_;
  std::mutex mu_;  // all below
  Stream streams_[kStreams];
};

}  // namespace lckv::simt
