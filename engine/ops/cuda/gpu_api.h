#pragma once

// What the CUDA backend (cuda_backend.h, in every build) asks of a GPU: a table of C functions
// behind which stand liblckv_cuda.so (the CUDA runtime and the kernels, built where nvcc is) and
// the simulated GPU of the tests (the same kernels on the CPU). Plain structs and pointers only: no
// C++ library crosses this border, so that one lckv binary opens either at run time.
//
// Every function returns 0 or an error code that error_text explains. Work is queued on the
// device's one compute stream in call order; errors of queued work appear at a later call, at
// synchronize at the latest, and are final. Calls for one device come from one thread at a time.
// All pointers to data are device memory unless they say host. Shapes are those of the op of the
// same name in engine/ops/backend.h; `rows` may be 0.

#include <cstddef>
#include <cstdint>

#include "engine/ops/kv_table.h"

namespace lckv::gpu {

inline constexpr uint32_t kApiVersion = 1;
// Name of the one symbol that a library exports: extern "C" const GpuApi* lckv_gpu_api(void).
inline constexpr char kApiSymbol[] = "lckv_gpu_api";

// How values are stored, with the numbers of lckv::DType (checked in cuda_backend.cc).
enum class Format : int32_t { kF32 = 0, kF16 = 1, kBf16 = 2, kQ8_0 = 3, kQ4_1 = 4 };

struct Device;  // owned by the library

struct DeviceInfo {
  char name[128];
  int32_t compute_major;
  int32_t compute_minor;
  int32_t multiprocessors;
  uint64_t memory_bytes;
  uint64_t free_bytes;
  int32_t driver_version;  // CUDA's number: 13000 is 13.0
  int32_t runtime_version;
};

// A weight matrix as the library keeps it: [out_features][in_features], rows of `row_bytes` bytes
// in the byte order of engine/tensor/dtype.h, the first aligned to 256 bytes.
struct Weight {
  const void* data;
  Format format;
  int32_t in_features;
  int32_t out_features;
  int64_t row_bytes;
};

struct EmbedArgs {
  Weight table;
  const int32_t* tokens;
  int32_t rows;
  float* out;
};
struct RmsNormArgs {
  const float* x;
  const float* weight;
  float eps;
  int32_t rows;
  int32_t size;
  float* out;
};
struct LinearArgs {
  Weight weight;
  const float* x;
  const float* bias;  // or null
  int32_t rows;
  int32_t accumulate;  // 0 or 1
  float* out;
};
struct RopeArgs {
  float* x;
  const int32_t* positions;
  const float* cos_sin;
  int32_t rows;
  int32_t heads;
  int32_t head_dim;
};
struct StoreKvArgs {
  const float* k;
  const float* v;
  const int32_t* positions;
  const int32_t* table_of_row;
  const KvTable* tables;
  KvShape shape;
  Format format;
  int32_t rows;
};
struct AttentionArgs {
  const float* q;
  const int32_t* positions;
  const int32_t* table_of_row;
  const KvTable* tables;
  KvShape shape;
  Format format;
  int32_t rows;
  int32_t heads;
  int32_t window;
  int32_t nodiag;  // 0 or 1
  float scale;
  float* out;
};
struct SwiGluArgs {
  const float* gate;
  const float* up;
  int64_t count;  // rows * size
  float* out;
};
struct KvChangeArgs {
  const int32_t* positions;
  const int32_t* table_of_row;
  const KvTable* previous;
  const KvTable* current;
  KvShape shape;
  Format format;
  int32_t rows;
  float* out;
};
struct GatherRowsArgs {
  const float* x;
  const int32_t* indices;
  int32_t rows;
  int32_t size;
  float* out;
};

struct GpuApi {
  uint32_t version;  // kApiVersion
  uint32_t size;     // sizeof(GpuApi)

  // Text of an error code, static.
  const char* (*error_text)(int code);
  // 0 devices is no error; a missing or too old driver is one.
  int (*device_count)(int32_t* count);
  int (*open)(int32_t ordinal, Device** device);
  void (*close)(Device* device);  // after everything allocated on it has been freed
  int (*info)(Device* device, DeviceInfo* info);

  // Zeroed, aligned to 256 bytes at least.
  int (*allocate)(Device* device, uint64_t bytes, void** data);
  void (*free)(Device* device, void* data);
  // The host bytes may be reused when it returns; queued behind the work so far.
  int (*copy_to_device)(Device* device, void* to, const void* from_host, uint64_t bytes);
  // Complete when it returns.
  int (*copy_to_host)(Device* device, void* to_host, const void* from, uint64_t bytes);
  int (*synchronize)(Device* device);

  int (*embed)(Device* device, const EmbedArgs* args);
  int (*rms_norm)(Device* device, const RmsNormArgs* args);
  int (*linear)(Device* device, const LinearArgs* args);
  int (*rope)(Device* device, const RopeArgs* args);
  int (*store_kv)(Device* device, const StoreKvArgs* args);
  int (*attention)(Device* device, const AttentionArgs* args);
  int (*swi_glu)(Device* device, const SwiGluArgs* args);
  int (*kv_change)(Device* device, const KvChangeArgs* args);
  int (*gather_rows)(Device* device, const GatherRowsArgs* args);
};

}  // namespace lckv::gpu
