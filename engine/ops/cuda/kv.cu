// Rotation, and writing K and V into pages; how much they changed from one encoder pass to the
// next.

#include "engine/ops/cuda/formats.cuh"
#include "engine/ops/cuda/kernels.h"
#include "engine/ops/cuda/launch.cuh"
#include "engine/ops/cuda/reduce.cuh"
#include "engine/ops/kv_address.h"

namespace lckv::gpu {
namespace {

constexpr int32_t kThreads = 128;
constexpr float kTiny = 1.17549435e-38f;  // the smallest normal float

// Pairs of a row that rotation turns; none if there are no rows.
LCKV_HOST_DEVICE int32_t QueryPairs(const QueryRows& queries) {
  return queries.rows > 0 ? queries.heads * (queries.head_dim / 2) : 0;
}
LCKV_HOST_DEVICE int32_t KvPairs(const KvRows& kv) {
  return kv.rows > 0 ? kv.shape.kv_heads * (kv.shape.head_dim / 2) : 0;
}

// The pair (x[i], x[i + half]), turned.
struct Pair {
  float first;
  float second;
};
LCKV_DEVICE Pair Rotated(const float* cos_sin, int32_t position, int32_t half, int32_t i,
                         const Pair& x) {
  const float* const cos = cos_sin + static_cast<int64_t>(position) * (2 * half) + i;
  const float c = cos[0];
  const float s = cos[half];
  return {device::Fma(x.first, c, device::Mul(-x.second, s)),
          device::Fma(x.second, c, device::Mul(x.first, s))};
}

LCKV_DEVICE void RotateQuery(const QueryRows& queries, const float* cos_sin, int64_t row,
                             int32_t pair) {
  const int32_t half = queries.head_dim / 2;
  const int32_t i = pair % half;
  float* const q = queries.q + (row * queries.heads + pair / half) * queries.head_dim + i;
  const Pair rotated = Rotated(cos_sin, queries.positions[row], half, i, {q[0], q[half]});
  q[0] = rotated.first;
  q[half] = rotated.second;
}

LCKV_DEVICE void StoreKeyAndValue(const KvRows& kv, const float* cos_sin, int64_t row,
                                  int32_t pair) {
  const KvShape& shape = kv.shape;
  const int32_t half = shape.head_dim / 2;
  const int32_t i = pair % half;
  const int32_t head = pair / half;
  const int32_t position = kv.positions[row];
  uint8_t* const page = KvOwnPage(kv.tables[kv.table_of_row[row]], shape, position);
  uint8_t* const key = KvKey(page, shape, head, position, ElementBytes(kv.dtype));
  uint8_t* const value = key + shape.value_offset_bytes;
  const int64_t source = kv.source == nullptr ? row : kv.source[row];
  const int64_t from = (source * shape.kv_heads + head) * shape.head_dim + i;
  Pair k = {kv.k[from], kv.k[from + half]};
  if (cos_sin != nullptr) k = Rotated(cos_sin, position, half, i, k);
  StoreKv(key, kv.dtype, i, k.first);
  StoreKv(key, kv.dtype, i + half, k.second);
  StoreKv(value, kv.dtype, i, kv.v[from]);
  StoreKv(value, kv.dtype, i + half, kv.v[from + half]);
}

// Block (row, kThreads of its pairs): the pairs of the queries' heads, then those of the kv heads.
__global__ void __launch_bounds__(kThreads) RopeAndStoreKernel(RopeAndStoreParams args) {
  const auto row = static_cast<int64_t>(blockIdx.x);
  const auto pair = static_cast<int32_t>(blockIdx.y * kThreads + threadIdx.x);
  const int32_t of_queries = QueryPairs(args.queries);
  if (pair < of_queries) {
    if (row < args.queries.rows) RotateQuery(args.queries, args.cos_sin, row, pair);
  } else if (pair < of_queries + KvPairs(args.kv) && row < args.kv.rows) {
    StoreKeyAndValue(args.kv, args.cos_sin, row, pair - of_queries);
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

int LaunchRopeAndStore(const RopeAndStoreParams& args, Stream stream) {
  const int32_t rows = args.queries.rows > args.kv.rows ? args.queries.rows : args.kv.rows;
  const int32_t pairs = QueryPairs(args.queries) + KvPairs(args.kv);
  const Dim3 grid = {static_cast<unsigned>(rows),
                     static_cast<unsigned>((pairs + kThreads - 1) / kThreads)};
  return Launch(RopeAndStoreKernel, grid, {kThreads}, 0, stream, args);
}

int LaunchKvChange(const KvChangeParams& args, Stream stream) {
  return Launch(KvChangeKernel, {static_cast<unsigned>(args.rows)}, {kThreads}, 0, stream, args);
}

}  // namespace lckv::gpu
