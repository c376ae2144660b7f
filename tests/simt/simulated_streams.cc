#include "tests/simt/simulated_streams.h"

#include <cstring>

namespace lckv::simt {

void SimulatedStreams::Push(gpu::StreamId stream, const Operation& operation) {
  Stream& queue = Of(stream);
  queue.queued.push_back(operation);
  if (!late_) RunUntil({static_cast<int32_t>(stream), queue.done + queue.queued.size()});
}

void SimulatedStreams::RunUntil(const gpu::Event& place) {
  Stream& stream = streams_[place.stream];
  while (stream.done < place.position) {
    const Operation operation = stream.queued.front();
    if (operation.to == nullptr) {
      RunUntil(operation.place);
    } else {
      std::memcpy(operation.to, operation.from, operation.bytes);
    }
    stream.queued.pop_front();
    ++stream.done;
  }
}

void SimulatedStreams::Copy(gpu::StreamId stream, void* to, const void* from, uint64_t bytes) {
  const std::lock_guard<std::mutex> lock(mu_);
  Push(stream, {to, from, bytes, {}});
}

void SimulatedStreams::Record(gpu::StreamId stream, gpu::Event* event) {
  const std::lock_guard<std::mutex> lock(mu_);
  const Stream& queue = Of(stream);
  *event = {static_cast<int32_t>(stream), queue.done + queue.queued.size()};
}

void SimulatedStreams::Wait(gpu::StreamId stream, const gpu::Event* event) {
  const std::lock_guard<std::mutex> lock(mu_);
  if (stream == gpu::StreamId::kCompute) {
    RunUntil(*event);
  } else {
    Push(stream, {nullptr, nullptr, 0, *event});
  }
}

void SimulatedStreams::WaitOnHost(const gpu::Event* event) {
  const std::lock_guard<std::mutex> lock(mu_);
  RunUntil(*event);
}

void SimulatedStreams::CatchUp() {
  const std::lock_guard<std::mutex> lock(mu_);
  const Stream& compute = Of(gpu::StreamId::kCompute);
  RunUntil({static_cast<int32_t>(gpu::StreamId::kCompute), compute.done + compute.queued.size()});
}

void SimulatedStreams::WaitForAll() {
  const std::lock_guard<std::mutex> lock(mu_);
  for (int32_t i = 0; i < kStreams; ++i) {
    RunUntil({i, streams_[i].done + streams_[i].queued.size()});
  }
}

}  // namespace lckv::simt
