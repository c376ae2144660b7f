// liblckv_cuda_sim.so: gpu_api.h over the executor. One device, whose memory is host memory; work
// is done when its call returns. Tests say otherwise by environment variables, read by `open`:
//   LCKV_SIM_COPIES=late      asynchronous copies get there when they are waited for
//   LCKV_SIM_MEMORY=<bytes>   how much memory the device has

#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "engine/ops/cuda/api_table.h"
#include "tests/simt/executor.h"
#include "tests/simt/simulated_streams.h"
#include "tests/simt/stream.h"

namespace lckv::gpu {

constexpr int32_t kMultiprocessors = 4;

struct Device {
  Device(Blas* blas, void* scratch, bool fast, bool late_copies, uint64_t size)
      : scratch(scratch),
        products(blas, scratch, fast),
        attention_scratch(new unsigned char[kWorkspaceBytes]),
        workspace{attention_scratch.get(), kWorkspaceBytes, kMultiprocessors},
        streams(late_copies),
        memory_bytes(size) {
    stream.catch_up = [this] { streams.CatchUp(); };
  }
  ~Device() { std::free(scratch); }
  void* scratch;
  Products products;
  // Host memory that the kernels may write; as on a device, nobody clears it.
  std::unique_ptr<unsigned char[]> attention_scratch;
  Workspace workspace;
  simt::Stream stream;
  simt::SimulatedStreams streams;  // beside it
  const uint64_t memory_bytes;
  std::mutex mu;
  std::map<void*, uint64_t> allocated;  // sizes; guarded by mu
  uint64_t allocated_bytes = 0;
};

struct Recording {
  std::vector<std::function<int()>> work;
};

namespace {

constexpr int kOutOfMemory = 2;
constexpr uint64_t kMemoryBytes = uint64_t{4} << 30;
constexpr size_t kAlignment = 256;
constexpr size_t kHostAlignment = 4096;

const char* ErrorText(int code) {
  return code == kOutOfMemory ? "out of memory" : simt::LastError().c_str();
}

int DeviceCount(int32_t* count) {
  *count = 1;
  return 0;
}

int Open(int32_t /*ordinal*/, bool fast, Device** device) {
  simt::ClearError();
  const char* copies = std::getenv("LCKV_SIM_COPIES");
  const char* memory = std::getenv("LCKV_SIM_MEMORY");
  void* scratch = nullptr;
  if (posix_memalign(&scratch, kAlignment, Products::kScratchBytes) != 0) return kOutOfMemory;
  Blas* blas = nullptr;
  BlasOpen(nullptr, 0, &blas);
  *device = new Device(blas, scratch, fast, copies != nullptr && std::strcmp(copies, "late") == 0,
                       memory != nullptr ? std::strtoull(memory, nullptr, 10) : kMemoryBytes);
  return 0;
}

void Close(Device* device) { delete device; }

int Info(Device* device, DeviceInfo* info) {
  *info = {};
  std::strncpy(info->name, "simulated GPU", sizeof(info->name) - 1);
  std::strncpy(info->products, BlasVersion(), sizeof(info->products) - 1);
  info->compute_major = 9;
  info->multiprocessors = kMultiprocessors;
  info->memory_bytes = device->memory_bytes;
  const std::lock_guard<std::mutex> lock(device->mu);
  info->free_bytes = device->memory_bytes - device->allocated_bytes;
  return 0;
}

int Allocate(Device* device, uint64_t bytes, void** data) {
  const std::lock_guard<std::mutex> lock(device->mu);
  if (bytes > device->memory_bytes - device->allocated_bytes ||
      posix_memalign(data, kAlignment, bytes) != 0) {
    return kOutOfMemory;
  }
  std::memset(*data, 0, bytes);
  device->allocated[*data] = bytes;
  device->allocated_bytes += bytes;
  return 0;
}

void Free(Device* device, void* data) {
  device->streams.WaitForAll();
  const std::lock_guard<std::mutex> lock(device->mu);
  const auto found = device->allocated.find(data);
  if (found == device->allocated.end()) return;
  device->allocated_bytes -= found->second;
  device->allocated.erase(found);
  std::free(data);
}

int Synchronize(Device* device) {
  device->streams.CatchUp();
  return simt::LastError().empty() ? simt::kSuccess : simt::kError;
}

int CopyToDevice(Device* device, void* to, const void* from_host, uint64_t bytes) {
  device->streams.CatchUp();
  std::memcpy(to, from_host, bytes);
  return Synchronize(device);
}

int CopyToHost(Device* device, void* to_host, const void* from, uint64_t bytes) {
  device->streams.CatchUp();
  std::memcpy(to_host, from, bytes);
  return Synchronize(device);
}

int BeginRecording(Device* device) {
  device->stream.recording = true;
  return 0;
}

int EndRecording(Device* device, Recording** recording) {
  device->stream.recording = false;
  *recording = new Recording{std::move(device->stream.kept)};
  device->stream.kept.clear();
  return 0;
}

int Replay(Device* device, const Recording* recording) {
  device->streams.CatchUp();
  for (const auto& work : recording->work) {
    const int error = work();
    if (error != 0) return error;
  }
  return 0;
}

void FreeRecording(Device* /*device*/, Recording* recording) { delete recording; }

int AllocateHost(Device* /*device*/, uint64_t bytes, void** data) {
  if (posix_memalign(data, kHostAlignment, bytes) != 0) return kOutOfMemory;
  std::memset(*data, 0, bytes);
  return 0;
}

void FreeHost(Device* device, void* data) {
  device->streams.WaitForAll();
  std::free(data);
}

int CopyAsync(Device* device, StreamId stream, void* to, const void* from, uint64_t bytes) {
  device->streams.Copy(stream, to, from, bytes);
  return 0;
}

int CreateEvent(Device* /*device*/, Event** event) {
  *event = new Event;
  return 0;
}

void DestroyEvent(Device* /*device*/, Event* event) { delete event; }

int RecordEvent(Device* device, StreamId stream, Event* event) {
  device->streams.Record(stream, event);
  return 0;
}

int StreamWait(Device* device, StreamId stream, Event* event) {
  device->streams.Wait(stream, event);
  return 0;
}

int WaitEvent(Device* device, Event* event) {
  device->streams.WaitOnHost(event);
  return 0;
}

const GpuApi kApi = WithOps({.error_text = &ErrorText,
                             .device_count = &DeviceCount,
                             .open = &Open,
                             .close = &Close,
                             .info = &Info,
                             .allocate = &Allocate,
                             .free = &Free,
                             .copy_to_device = &CopyToDevice,
                             .copy_to_host = &CopyToHost,
                             .synchronize = &Synchronize,
                             .allocate_host = &AllocateHost,
                             .free_host = &FreeHost,
                             .copy_async = &CopyAsync,
                             .create_event = &CreateEvent,
                             .destroy_event = &DestroyEvent,
                             .record_event = &RecordEvent,
                             .stream_wait = &StreamWait,
                             .wait_event = &WaitEvent,
                             .begin_recording = &BeginRecording,
                             .end_recording = &EndRecording,
                             .replay = &Replay,
                             .free_recording = &FreeRecording});

}  // namespace

Stream StreamOf(Device* device) { return &device->stream; }
Products& ProductsOf(Device* device) { return device->products; }
const Workspace& WorkspaceOf(Device* device) { return device->workspace; }

extern "C" __attribute__((visibility("default"))) const GpuApi* lckv_gpu_api() { return &kApi; }

}  // namespace lckv::gpu
