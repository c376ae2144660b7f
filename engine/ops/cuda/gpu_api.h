#pragma once

// What the CUDA backend (cuda_backend.h, in every build) asks of a GPU: a table of C functions
// behind which stand liblckv_cuda.so (the CUDA runtime and the kernels, built where nvcc is) and
// the simulated GPU of the tests (the same kernels on the CPU). Plain structs and pointers only: no
// C++ library crosses this border, so that one lckv binary opens either at run time.
//
// Every function returns 0 or an error code that error_text explains. Work is queued on the
// device's one compute stream in call order; errors of queued work appear at a later call, at
// synchronize at the latest, and are final. Calls for one device come from one thread at a time,
// except those on streams and events, which any thread may make beside it.
// All pointers to data are device memory unless they say host. The ops are those of
// engine/ops/backend.h; rows > 0.

#include <cstddef>
#include <cstdint>

#include "engine/ops/op_params.h"

namespace lckv::gpu {

// Grows with every change of this file or op_params.h.
inline constexpr uint32_t kApiVersion = 7;
// Name of the one symbol that a library exports: extern "C" const GpuApi* lckv_gpu_api(void).
inline constexpr char kApiSymbol[] = "lckv_gpu_api";

// What open returns for a device whose compute capability the kernels do not have.
inline constexpr int kUnsupportedDevice = -1;

struct Device;     // owned by the library
struct Recording;  // likewise
struct Event;      // a place in a stream; owned by the library

// Queues of a device: each runs in order, and beside the others.
enum class StreamId : int32_t {
  kCompute = 0,  // the ops, copy_to_device, copy_to_host, a step's tables
  kCopyIn = 1,   // pages, and weights that stay, into the device
  kCopyOut = 2,  // pages out of it
  kWeights = 3,  // weights of layers that lie in host memory, in every step
};

struct DeviceInfo {
  char name[128];
  int32_t compute_major;
  int32_t compute_minor;
  int32_t multiprocessors;
  uint64_t memory_bytes;
  uint64_t free_bytes;
  int32_t driver_version;  // CUDA's number: 13000 is 13.0
  int32_t runtime_version;
  char products[32];  // library of matrix products and its version
};

// A weight matrix as the library keeps it (weight_layout.h): [out_features][in_features],
// RowBytes() of an output in `row_bytes`, the first byte aligned to 256.
struct Weight {
  const void* data;
  const float* scales;  // [out_features] of kI8 and kFp8, else null
  DType dtype;
  int32_t in_features;
  int32_t out_features;
  int64_t row_bytes;
};

// EmbedParams and LinearParams with the weight in the library's form.
struct EmbedArgs {
  Weight table;
  const int32_t* tokens;
  int32_t rows;
  float* out;
};
struct LinearArgs {
  Weight weight;
  ConstActivations x;
  const float* bias;  // or null
  int32_t rows;
  bool accumulate;
  float* out;
};

struct GpuApi {
  uint32_t version = 0;  // kApiVersion
  uint32_t size = 0;     // sizeof(GpuApi)

  // Text of an error code, static.
  const char* (*error_text)(int code) = nullptr;
  // 0 devices is no error; a missing or too old driver is one.
  int (*device_count)(int32_t* count) = nullptr;
  // `fast`: products may use another algorithm for every number of rows (products.h).
  int (*open)(int32_t ordinal, bool fast, Device** device) = nullptr;
  void (*close)(Device* device) = nullptr;  // after everything allocated on it has been freed
  int (*info)(Device* device, DeviceInfo* info) = nullptr;

  // Zeroed, aligned to 256 bytes at least.
  int (*allocate)(Device* device, uint64_t bytes, void** data) = nullptr;
  void (*free)(Device* device, void* data) = nullptr;
  // The host bytes may be reused when it returns; queued behind the work so far.
  int (*copy_to_device)(Device* device, void* to, const void* from_host, uint64_t bytes) = nullptr;
  // Complete when it returns.
  int (*copy_to_host)(Device* device, void* to_host, const void* from, uint64_t bytes) = nullptr;
  int (*synchronize)(Device* device) = nullptr;

  // Gets ready for products with `weight`; `text` as in products.h.
  int (*prepare_product)(Device* device, const Weight* weight, char* text,
                         uint64_t text_bytes) = nullptr;

  // Pinned host memory, zeroed, aligned to 4096 bytes.
  int (*allocate_host)(Device* device, uint64_t bytes, void** data) = nullptr;
  void (*free_host)(Device* device, void* data) = nullptr;
  // Host memory must be pinned; neither side may be touched before the copy is complete. Into the
  // device on kCopyIn, out of it on kCopyOut, either on kCompute.
  int (*copy_async)(Device* device, StreamId stream, void* to, const void* from,
                    uint64_t bytes) = nullptr;
  // Destroying an event needs it no longer waited for.
  int (*create_event)(Device* device, Event** event) = nullptr;
  void (*destroy_event)(Device* device, Event* event) = nullptr;
  // The event becomes the end of what the stream has been given so far; whoever waits for it
  // meanwhile waits for this or for what it was before.
  int (*record_event)(Device* device, StreamId stream, Event* event) = nullptr;
  // What the stream is given from now on begins after the event. One never recorded is past.
  int (*stream_wait)(Device* device, StreamId stream, Event* event) = nullptr;
  // The caller blocks until the event is past.
  int (*wait_event)(Device* device, Event* event) = nullptr;

  int (*embed)(Device* device, const EmbedArgs* args) = nullptr;
  int (*rms_norm)(Device* device, const RmsNormParams* args) = nullptr;
  int (*linear)(Device* device, const LinearArgs* args) = nullptr;
  int (*rope_and_store)(Device* device, const RopeAndStoreParams* args) = nullptr;
  int (*attention)(Device* device, const AttentionParams* args) = nullptr;
  int (*swi_glu)(Device* device, const SwiGluParams* args) = nullptr;
  int (*kv_change)(Device* device, const KvChangeParams* args) = nullptr;
  int (*gather_rows)(Device* device, const GatherRowsParams* args) = nullptr;
  int (*copy_rows)(Device* device, const CopyRowsParams* args) = nullptr;

  // Ops in between are kept, not executed; afterwards they can be queued as one, again and again.
  int (*begin_recording)(Device* device) = nullptr;
  int (*end_recording)(Device* device, Recording** recording) = nullptr;
  int (*replay)(Device* device, const Recording* recording) = nullptr;
  void (*free_recording)(Device* device, Recording* recording) = nullptr;
  int (*crc32c)(Device* device, const Crc32cParams* args) = nullptr;
  int (*sample)(Device* device, const SampleParams* args) = nullptr;
};

}  // namespace lckv::gpu
