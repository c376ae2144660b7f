// liblckv_cuda.so: gpu_api.h over the CUDA runtime. Host code; the kernels are in the .cu files.

#include <cuda_runtime.h>

#include <cstring>
#include <new>

#include "engine/ops/cuda/api_table.h"

namespace lckv::gpu {

struct Device {
  int ordinal = 0;
  cudaStream_t stream = nullptr;  // kCompute
  cudaStream_t copy_in = nullptr;
  cudaStream_t copy_out = nullptr;
  cudaStream_t weights = nullptr;
  void* product_memory = nullptr;
  Products* products = nullptr;
  Workspace workspace;
};
struct Event {
  cudaEvent_t event = nullptr;
};

namespace {

constexpr int kMinComputeMajor = 8;  // bf16, cp.async: sm_80 and later

int Code(cudaError_t error) { return static_cast<int>(error); }

const char* ErrorText(int code) {
  if (code == kUnsupportedDevice) return "its compute capability is below 8.0";
  if (code >= kBlasErrors) return BlasErrorText(code);
  return cudaGetErrorString(static_cast<cudaError_t>(code));
}

int DeviceCount(int32_t* count) {
  int found = 0;
  const cudaError_t error = cudaGetDeviceCount(&found);
  *count = error == cudaSuccess ? found : 0;
  return error == cudaErrorNoDevice ? 0 : Code(error);
}

int Close(Device* device, int result) {
  delete device->products;
  if (device->product_memory != nullptr) cudaFree(device->product_memory);
  if (device->workspace.data != nullptr) cudaFree(device->workspace.data);
  for (const cudaStream_t stream :
       {device->stream, device->copy_in, device->copy_out, device->weights}) {
    if (stream != nullptr) cudaStreamDestroy(stream);
  }
  delete device;
  return result;
}

int OpenProducts(Device* device, bool fast) {
  const cudaError_t error =
      cudaMalloc(&device->product_memory, Products::kWorkspaceBytes + Products::kScratchBytes);
  if (error != cudaSuccess) return Code(error);
  Blas* blas = nullptr;
  const int status = BlasOpen(device->product_memory, Products::kWorkspaceBytes, &blas);
  if (status != 0) return status;
  auto* scratch = static_cast<uint8_t*>(device->product_memory) + Products::kWorkspaceBytes;
  device->products = new Products(blas, scratch, fast);
  return 0;
}

int Open(int32_t ordinal, bool fast, Device** out) {
  auto* device = new (std::nothrow) Device;
  if (device == nullptr) return Code(cudaErrorMemoryAllocation);
  device->ordinal = ordinal;
  int major = 0;
  cudaError_t error = cudaSetDevice(ordinal);
  if (error == cudaSuccess) {
    error = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, ordinal);
  }
  if (error == cudaSuccess && major < kMinComputeMajor) return Close(device, kUnsupportedDevice);
  for (cudaStream_t* stream :
       {&device->stream, &device->copy_in, &device->copy_out, &device->weights}) {
    if (error == cudaSuccess) error = cudaStreamCreateWithFlags(stream, cudaStreamNonBlocking);
  }
  Workspace& workspace = device->workspace;
  if (error == cudaSuccess) {
    error =
        cudaDeviceGetAttribute(&workspace.multiprocessors, cudaDevAttrMultiProcessorCount, ordinal);
  }
  if (error == cudaSuccess) {
    workspace.bytes = kWorkspaceBytes;
    error = cudaMalloc(&workspace.data, workspace.bytes);
  }
  const int status = error != cudaSuccess ? Code(error) : OpenProducts(device, fast);
  if (status != 0) return Close(device, status);
  *out = device;
  return 0;
}

void CloseDevice(Device* device) {
  cudaSetDevice(device->ordinal);
  for (const cudaStream_t stream :
       {device->stream, device->copy_in, device->copy_out, device->weights}) {
    cudaStreamSynchronize(stream);
  }
  Close(device, 0);
}

int Info(Device* device, DeviceInfo* info) {
  cudaDeviceProp properties;
  cudaError_t error = cudaGetDeviceProperties(&properties, device->ordinal);
  if (error != cudaSuccess) return Code(error);
  std::memset(info, 0, sizeof(*info));
  std::memcpy(info->name, properties.name, sizeof(info->name) - 1);
  info->compute_major = properties.major;
  info->compute_minor = properties.minor;
  info->multiprocessors = properties.multiProcessorCount;
  size_t free_bytes = 0;
  size_t total_bytes = 0;
  error = cudaSetDevice(device->ordinal);
  if (error == cudaSuccess) error = cudaMemGetInfo(&free_bytes, &total_bytes);
  std::strncpy(info->products, BlasVersion(), sizeof(info->products) - 1);
  info->memory_bytes = total_bytes;
  info->free_bytes = free_bytes;
  if (error == cudaSuccess) error = cudaDriverGetVersion(&info->driver_version);
  if (error == cudaSuccess) error = cudaRuntimeGetVersion(&info->runtime_version);
  return Code(error);
}

int Allocate(Device* device, uint64_t bytes, void** data) {
  cudaError_t error = cudaSetDevice(device->ordinal);
  if (error == cudaSuccess) error = cudaMalloc(data, bytes == 0 ? 1 : bytes);
  if (error != cudaSuccess) {
    cudaGetLastError();  // out of memory is the caller's to handle, not the next launch's
    return Code(error);
  }
  error = cudaMemsetAsync(*data, 0, bytes, device->stream);
  if (error == cudaSuccess) return 0;
  cudaFree(*data);
  return Code(error);
}

void Free(Device* device, void* data) {
  cudaSetDevice(device->ordinal);
  cudaStreamSynchronize(device->stream);
  cudaFree(data);
}

int CopyToDevice(Device* device, void* to, const void* from_host, uint64_t bytes) {
  // From pageable memory: the bytes have been taken when the call returns.
  return Code(cudaMemcpyAsync(to, from_host, bytes, cudaMemcpyHostToDevice, device->stream));
}

int Synchronize(Device* device) { return Code(cudaStreamSynchronize(device->stream)); }

int CopyToHost(Device* device, void* to_host, const void* from, uint64_t bytes) {
  const cudaError_t error =
      cudaMemcpyAsync(to_host, from, bytes, cudaMemcpyDeviceToHost, device->stream);
  return error == cudaSuccess ? Synchronize(device) : Code(error);
}

cudaGraphExec_t GraphOf(const Recording* recording) {
  return reinterpret_cast<cudaGraphExec_t>(const_cast<Recording*>(recording));
}

int BeginRecording(Device* device) {
  return Code(cudaStreamBeginCapture(device->stream, cudaStreamCaptureModeThreadLocal));
}

int EndRecording(Device* device, Recording** recording) {
  cudaGraph_t graph = nullptr;
  cudaError_t error = cudaStreamEndCapture(device->stream, &graph);
  if (error != cudaSuccess) {
    cudaGetLastError();
    return Code(error);
  }
  cudaGraphExec_t executable = nullptr;
  error = cudaGraphInstantiate(&executable, graph, 0);
  cudaGraphDestroy(graph);
  *recording = reinterpret_cast<Recording*>(executable);
  return Code(error);
}

int Replay(Device* device, const Recording* recording) {
  return Code(cudaGraphLaunch(GraphOf(recording), device->stream));
}

void FreeRecording(Device* device, Recording* recording) {
  cudaSetDevice(device->ordinal);
  cudaStreamSynchronize(device->stream);
  cudaGraphExecDestroy(GraphOf(recording));
}

int AllocateHost(Device* device, uint64_t bytes, void** data) {
  cudaError_t error = cudaSetDevice(device->ordinal);
  if (error == cudaSuccess) error = cudaHostAlloc(data, bytes == 0 ? 1 : bytes, 0);
  if (error != cudaSuccess) {
    cudaGetLastError();  // as in Allocate
    return Code(error);
  }
  std::memset(*data, 0, bytes);
  return 0;
}

void FreeHost(Device* device, void* data) {
  cudaSetDevice(device->ordinal);
  cudaFreeHost(data);
}

cudaStream_t StreamNamed(const Device* device, StreamId stream) {
  if (stream == StreamId::kCompute) return device->stream;
  if (stream == StreamId::kCopyIn) return device->copy_in;
  return stream == StreamId::kCopyOut ? device->copy_out : device->weights;
}

// The functions from here on come from any thread, each of which has a current device of its own.
int CopyAsync(Device* device, StreamId stream, void* to, const void* from, uint64_t bytes) {
  cudaError_t error = cudaSetDevice(device->ordinal);
  if (error == cudaSuccess) {
    // Pinned memory says by its address on which side it is.
    error = cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, StreamNamed(device, stream));
  }
  return Code(error);
}

int CreateEvent(Device* device, Event** out) {
  cudaEvent_t event = nullptr;
  cudaError_t error = cudaSetDevice(device->ordinal);
  if (error == cudaSuccess) {
    // Whoever waits sleeps: restores may take longer than a thread should spin.
    error = cudaEventCreateWithFlags(&event, cudaEventDisableTiming | cudaEventBlockingSync);
  }
  if (error != cudaSuccess) return Code(error);
  *out = new (std::nothrow) Event{event};
  if (*out != nullptr) return 0;
  cudaEventDestroy(event);
  return Code(cudaErrorMemoryAllocation);
}

void DestroyEvent(Device* device, Event* event) {
  cudaSetDevice(device->ordinal);
  cudaEventDestroy(event->event);
  delete event;
}

int RecordEvent(Device* device, StreamId stream, Event* event) {
  const cudaError_t error = cudaSetDevice(device->ordinal);
  if (error != cudaSuccess) return Code(error);
  return Code(cudaEventRecord(event->event, StreamNamed(device, stream)));
}

int StreamWait(Device* device, StreamId stream, Event* event) {
  const cudaError_t error = cudaSetDevice(device->ordinal);
  if (error != cudaSuccess) return Code(error);
  return Code(cudaStreamWaitEvent(StreamNamed(device, stream), event->event, 0));
}

int WaitEvent(Device* device, Event* event) {
  const cudaError_t error = cudaSetDevice(device->ordinal);
  return Code(error == cudaSuccess ? cudaEventSynchronize(event->event) : error);
}

const GpuApi kApi = WithOps({.error_text = &ErrorText,
                             .device_count = &DeviceCount,
                             .open = &Open,
                             .close = &CloseDevice,
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

Stream StreamOf(Device* device) { return device->stream; }
Products& ProductsOf(Device* device) { return *device->products; }
const Workspace& WorkspaceOf(Device* device) { return device->workspace; }

extern "C" __attribute__((visibility("default"))) const GpuApi* lckv_gpu_api() { return &kApi; }

}  // namespace lckv::gpu
