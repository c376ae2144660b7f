// Writing K and V into pages, and how much they changed from one encoder pass to the next.

#include "engine/ops/cuda/formats.cuh"
#include "engine/ops/cuda/kernels.h"
#include "engine/ops/cuda/launch.cuh"
#include "engine/ops/cuda/reduce.cuh"
#include "engine/ops/kv_address.h"

namespace lckv::gpu {
namespace {

constexpr int32_t kThreads = 128;
constexpr float kTiny = 1.17549435e-38f;  // the smallest normal float

// Block (row, kv head).
__global__ void __launch_bounds__(kThreads) StoreKvKernel(StoreKvParams args) {
  const KvShape& shape = args.shape;
  const auto row = static_cast<int64_t>(blockIdx.x);
  const auto head = static_cast<int32_t>(blockIdx.y);
  const int32_t position = args.positions[row];
  uint8_t* page = KvOwnPage(args.tables[args.table_of_row[row]], shape, position);
  uint8_t* key = KvKey(page, shape, head, position, ElementBytes(args.dtype));
  const int64_t offset = (row * shape.kv_heads + head) * shape.head_dim;
  for (auto i = static_cast<int32_t>(threadIdx.x); i < shape.head_dim; i += kThreads) {
    StoreKv(key, args.dtype, i, args.k[offset + i]);
    StoreKv(key + shape.value_offset_bytes, args.dtype, i, args.v[offset + i]);
  }
}

// One block a row.
__global__ void __launch_bounds__(kThreads) KvChangeKernel(KvChangeParams args) {
  LCKV_SHARED(float, partial, 32);
  const KvShape& shape = args.shape;
  const auto row = static_cast<int64_t>(blockIdx.x);
  const int32_t position = args.positions[row];
  uint8_t* before = KvOwnPage(args.previous[args.table_of_row[row]], shape, position);
  uint8_t* after = KvOwnPage(args.current[args.table_of_row[row]], shape, position);
  float change = 0;
  float norm = 0;
  for (int32_t head = 0; head < shape.kv_heads; ++head) {
    const uint8_t* old_key = KvKey(before, shape, head, position, ElementBytes(args.dtype));
    const uint8_t* new_key = KvKey(after, shape, head, position, ElementBytes(args.dtype));
    for (int32_t part = 0; part < 2; ++part) {  // K, V
      const int64_t offset = part * shape.value_offset_bytes;
      for (auto i = static_cast<int32_t>(threadIdx.x); i < shape.head_dim; i += kThreads) {
        const float now = LoadKv(new_key + offset, args.dtype, i);
        const float difference = device::Sub(now, LoadKv(old_key + offset, args.dtype, i));
        change = device::Fma(difference, difference, change);
        norm = device::Fma(now, now, norm);
      }
    }
  }
  change = device::Sqrt(BlockSum(change, partial));
  norm = device::Sqrt(BlockSum(norm, partial));
  if (threadIdx.x == 0) args.out[row] = device::Div(change, device::Max(norm, kTiny));
}

}  // namespace

int LaunchStoreKv(const StoreKvParams& args, Stream stream) {
  const Dim3 grid = {static_cast<unsigned>(args.rows), static_cast<unsigned>(args.shape.kv_heads)};
  return Launch(StoreKvKernel, grid, {kThreads}, 0, stream, args);
}

int LaunchKvChange(const KvChangeParams& args, Stream stream) {
  return Launch(KvChangeKernel, {static_cast<unsigned>(args.rows)}, {kThreads}, 0, stream, args);
}

}  // namespace lckv::gpu
