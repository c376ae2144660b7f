// Paged attention in float32 over stored K/V of any format: one block for one row and one kv head,
// with all query heads that read it. Keys go in chunks of kChunk positions that start at multiples
// of kChunk; each chunk is a softmax of its own, and chunks are combined in ascending order. So the
// bits depend on the position and the visible range only, and a kernel that gives chunks to
// different blocks can give the same ones.

#include "engine/ops/cuda/attention_plan.h"
#include "engine/ops/cuda/formats.cuh"
#include "engine/ops/cuda/kernels.h"
#include "engine/ops/cuda/launch.cuh"
#include "engine/ops/cuda/reduce.cuh"
#include "engine/ops/kv_address.h"

namespace lckv::gpu {
namespace {

constexpr int32_t kThreads = 128;
constexpr int32_t kWarps = kThreads / kWarp;
constexpr int32_t kChunk = 64;
constexpr float kMinusInfinity = -__builtin_huge_valf();

// A block's shared memory, in floats: q, sums [group][head_dim]; weights [group][kChunk]; per query
// head the largest score so far, the sum of weights so far, and the factors by which the sums so
// far and the chunk's enter the new ones.
struct SharedLayout {
  int32_t q, sums, weights, largest, total, keep, add, count;
};
LCKV_HOST_DEVICE SharedLayout LayoutOf(int32_t group, int32_t head_dim) {
  SharedLayout layout;
  layout.q = 0;
  layout.sums = layout.q + group * head_dim;
  layout.weights = layout.sums + group * head_dim;
  layout.largest = layout.weights + group * kChunk;
  layout.total = layout.largest + group;
  layout.keep = layout.total + group;
  layout.add = layout.keep + group;
  layout.count = layout.add + group;
  return layout;
}

// What the steps of one block share.
struct Block {
  const KvTable* table;
  int32_t row;
  int32_t kv_head;
  int32_t group;  // query heads of the kv head
  int32_t thread;
};

// The kChunk positions from `first` on, and those of all that the row sees.
struct Chunk {
  int32_t first;
  KvRange visible;

  LCKV_DEVICE bool Sees(int32_t slot) const { return visible.Sees(first + slot); }
};

LCKV_DEVICE const uint8_t* KeyAt(const AttentionParams& args, const Block& block,
                                 int32_t position) {
  return KvKey(KvPage(*block.table, args.shape, position), args.shape, block.kv_head, position,
               ElementBytes(args.dtype));
}

// weights[g][j] = scaled score of the chunk's position j, where the row sees it. A warp takes a
// key, its lanes parts of the head.
template <typename Shared>
LCKV_DEVICE void Scores(const AttentionParams& args, const Block& block, const SharedLayout& layout,
                        const Chunk& chunk, Shared& shared) {
  const int32_t head_dim = args.shape.head_dim;
  const int32_t lane = block.thread % kWarp;
  for (int32_t j = block.thread / kWarp; j < kChunk; j += kWarps) {
    if (!chunk.Sees(j)) continue;
    const uint8_t* key = KeyAt(args, block, chunk.first + j);
    for (int32_t g = 0; g < block.group; ++g) {
      float dot = 0;
      for (int32_t i = lane; i < head_dim; i += kWarp) {
        dot = device::Fma(shared[layout.q + g * head_dim + i], LoadKv(key, args.dtype, i), dot);
      }
      dot = WarpSum(dot);
      if (lane == 0) shared[layout.weights + g * kChunk + j] = device::Mul(dot, args.scale);
    }
  }
}

// Scores of the chunk become weights relative to its largest; then how the chunk joins what came
// before. A warp takes a query head.
template <typename Shared>
LCKV_DEVICE void Softmax(const Block& block, const SharedLayout& layout, const Chunk& chunk,
                         Shared& shared) {
  const int32_t lane = block.thread % kWarp;
  for (int32_t g = block.thread / kWarp; g < block.group; g += kWarps) {
    float largest = kMinusInfinity;
    for (int32_t j = lane; j < kChunk; j += kWarp) {
      if (!chunk.Sees(j)) continue;
      largest = device::Max(largest, shared[layout.weights + g * kChunk + j]);
    }
    largest = WarpMax(largest);
    float total = 0;
    for (int32_t j = lane; j < kChunk; j += kWarp) {
      if (!chunk.Sees(j)) continue;
      const float weight =
          device::Exp(device::Sub(shared[layout.weights + g * kChunk + j], largest));
      shared[layout.weights + g * kChunk + j] = weight;
      total = device::Add(total, weight);
    }
    total = WarpSum(total);
    if (lane != 0) continue;
    const float before = shared[layout.largest + g];
    const float now = device::Max(before, largest);
    const float keep = device::Exp(device::Sub(before, now));
    const float add = device::Exp(device::Sub(largest, now));
    shared[layout.total + g] = device::Fma(shared[layout.total + g], keep, device::Mul(total, add));
    shared[layout.largest + g] = now;
    shared[layout.keep + g] = keep;
    shared[layout.add + g] = add;
  }
}

// sums[g][i] = sums * keep + (the chunk's weighted values) * add. A thread takes values (g, i).
template <typename Shared>
LCKV_DEVICE void Values(const AttentionParams& args, const Block& block, const SharedLayout& layout,
                        const Chunk& chunk, Shared& shared) {
  const int32_t head_dim = args.shape.head_dim;
  for (int32_t index = block.thread; index < block.group * head_dim; index += kThreads) {
    const int32_t g = index / head_dim;
    float sum = 0;
    for (int32_t j = 0; j < kChunk; ++j) {
      if (!chunk.Sees(j)) continue;
      const uint8_t* value = KeyAt(args, block, chunk.first + j) + args.shape.value_offset_bytes;
      sum = device::Fma(shared[layout.weights + g * kChunk + j],
                        LoadKv(value, args.dtype, index % head_dim), sum);
    }
    shared[layout.sums + index] = device::Fma(shared[layout.sums + index], shared[layout.keep + g],
                                              device::Mul(sum, shared[layout.add + g]));
  }
}

// Block (row, kv head).
__global__ void __launch_bounds__(kThreads) AttentionKernel(AttentionParams args) {
  LCKV_DYNAMIC_SHARED(float, shared);
  const int32_t head_dim = args.shape.head_dim;
  Block block;
  block.row = static_cast<int32_t>(blockIdx.x);
  block.kv_head = static_cast<int32_t>(blockIdx.y);
  block.group = args.heads / args.shape.kv_heads;
  block.thread = static_cast<int32_t>(threadIdx.x);
  block.table = &args.tables[args.table_of_row[block.row]];
  const SharedLayout layout = LayoutOf(block.group, head_dim);
  const int32_t values = block.group * head_dim;
  const int64_t offset =
      (static_cast<int64_t>(block.row) * args.heads + block.kv_head * block.group) * head_dim;

  const int32_t position = args.positions[block.row];
  const KvRange visible =
      VisibleRange(*block.table, position, args.window, args.sinks, args.nodiag);
  const KvChunks chunks = ChunksOf(visible, kChunk);

  for (int32_t i = block.thread; i < values; i += kThreads) {
    shared[layout.q + i] = args.q[offset + i];
    shared[layout.sums + i] = 0.0f;
  }
  for (int32_t g = block.thread; g < block.group; g += kThreads) {
    shared[layout.largest + g] = kMinusInfinity;
    shared[layout.total + g] = 0.0f;
  }
  __syncthreads();
  for (int32_t n = 0; n < chunks.count; ++n) {
    const Chunk chunk = {chunks.At(n, kChunk), visible};
    Scores(args, block, layout, chunk, shared);
    __syncthreads();
    Softmax(block, layout, chunk, shared);
    __syncthreads();
    Values(args, block, layout, chunk, shared);
    __syncthreads();
  }
  for (int32_t i = block.thread; i < values; i += kThreads) {
    const float total = shared[layout.total + i / head_dim];
    // Nothing visible: zero.
    StoreActivation(args.out, offset + i,
                    total == 0.0f ? 0.0f : device::Div(shared[layout.sums + i], total));
  }
}

}  // namespace

int LaunchAttention(const AttentionParams& args, const Workspace& workspace, Stream stream) {
  if (CanAttendWithMma(args)) {
    return LaunchAttentionMma(args, PlanAttention(args, workspace), workspace, stream);
  }
  const Dim3 grid = {static_cast<unsigned>(args.rows), static_cast<unsigned>(args.shape.kv_heads)};
  const SharedLayout layout = LayoutOf(args.heads / args.shape.kv_heads, args.shape.head_dim);
  const size_t shared_bytes = static_cast<size_t>(layout.count) * sizeof(float);
  return Launch(AttentionKernel, grid, {kThreads}, shared_bytes, stream, args);
}

}  // namespace lckv::gpu
