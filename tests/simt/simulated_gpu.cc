// liblckv_cuda_sim.so: gpu_api.h over the executor. One device, whose memory is host memory; work
// is done when its call returns.

#include <cstdlib>
#include <cstring>
#include <functional>
#include <utility>
#include <vector>

#include "engine/ops/cuda/api_table.h"
#include "tests/simt/executor.h"
#include "tests/simt/stream.h"

namespace lckv::gpu {

struct Device {
  Device(Blas* blas, void* scratch, bool fast) : scratch(scratch), products(blas, scratch, fast) {}
  ~Device() { std::free(scratch); }
  void* scratch;
  Products products;
  simt::Stream stream;
};

struct Recording {
  std::vector<std::function<int()>> work;
};

namespace {

constexpr int kOutOfMemory = 2;
constexpr uint64_t kMemoryBytes = uint64_t{4} << 30;
constexpr size_t kAlignment = 256;

const char* ErrorText(int code) {
  return code == kOutOfMemory ? "out of memory" : simt::LastError().c_str();
}

int DeviceCount(int32_t* count) {
  *count = 1;
  return 0;
}

int Open(int32_t /*ordinal*/, bool fast, Device** device) {
  simt::ClearError();
  void* scratch = nullptr;
  if (posix_memalign(&scratch, kAlignment, Products::kScratchBytes) != 0) return kOutOfMemory;
  Blas* blas = nullptr;
  BlasOpen(nullptr, 0, &blas);
  *device = new Device(blas, scratch, fast);
  return 0;
}

void Close(Device* device) { delete device; }

int Info(Device* /*device*/, DeviceInfo* info) {
  *info = {};
  std::strncpy(info->name, "simulated GPU", sizeof(info->name) - 1);
  std::strncpy(info->products, BlasVersion(), sizeof(info->products) - 1);
  info->compute_major = 9;
  info->multiprocessors = 1;
  info->memory_bytes = kMemoryBytes;
  info->free_bytes = kMemoryBytes;
  return 0;
}

int Allocate(Device* /*device*/, uint64_t bytes, void** data) {
  if (bytes > kMemoryBytes || posix_memalign(data, kAlignment, bytes) != 0) return kOutOfMemory;
  std::memset(*data, 0, bytes);
  return 0;
}

void Free(Device* /*device*/, void* data) { std::free(data); }

int Synchronize(Device* /*device*/) {
  return simt::LastError().empty() ? simt::kSuccess : simt::kError;
}

int CopyToDevice(Device* device, void* to, const void* from_host, uint64_t bytes) {
  std::memcpy(to, from_host, bytes);
  return Synchronize(device);
}

int CopyToHost(Device* device, void* to_host, const void* from, uint64_t bytes) {
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

int Replay(Device* /*device*/, const Recording* recording) {
  for (const auto& work : recording->work) {
    const int error = work();
    if (error != 0) return error;
  }
  return 0;
}

void FreeRecording(Device* /*device*/, Recording* recording) { delete recording; }

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
                             .begin_recording = &BeginRecording,
                             .end_recording = &EndRecording,
                             .replay = &Replay,
                             .free_recording = &FreeRecording});

}  // namespace

Stream StreamOf(Device* device) { return &device->stream; }
Products& ProductsOf(Device* device) { return device->products; }

extern "C" __attribute__((visibility("default"))) const GpuApi* lckv_gpu_api() { return &kApi; }

}  // namespace lckv::gpu
