// Ops in which one thread makes one value: embedding rows, SwiGLU, copies of rows.

#include "engine/ops/cuda/formats.cuh"
#include "engine/ops/cuda/kernels.h"
#include "engine/ops/cuda/launch.cuh"

namespace lckv::gpu {
namespace {

constexpr int32_t kThreads = 256;

// The number of blocks for `count` values; a grid dimension has 2^31 - 1 at most.
unsigned Blocks(int64_t count) { return static_cast<unsigned>((count + kThreads - 1) / kThreads); }

LCKV_DEVICE int64_t GlobalIndex() {
  return static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
}

__global__ void __launch_bounds__(kThreads) EmbedKernel(EmbedArgs args) {
  const int32_t size = args.table.in_features;
  const int64_t index = GlobalIndex();
  if (index >= int64_t{args.rows} * size) return;
  const int64_t token = args.tokens[index / size];
  args.out[index] = LoadWeight(args.table, token, static_cast<int32_t>(index % size));
}

__global__ void __launch_bounds__(kThreads) SwiGluKernel(SwiGluParams args) {
  const int64_t index = GlobalIndex();
  if (index >= int64_t{args.rows} * args.size) return;
  const float gate = args.gate[index];
  const float silu = device::Div(gate, device::Add(1.0f, device::Exp(-gate)));
  StoreActivation(args.out, index, device::Mul(silu, args.up[index]));
}

__global__ void __launch_bounds__(kThreads) GatherRowsKernel(GatherRowsParams args) {
  const int64_t index = GlobalIndex();
  if (index >= int64_t{args.rows} * args.size) return;
  const int64_t from = args.indices[index / args.size];
  args.out[index] = args.x[from * args.size + index % args.size];
}

__global__ void __launch_bounds__(kThreads) CopyRowsKernel(CopyRowsParams args) {
  const int64_t index = GlobalIndex();
  if (index >= int64_t{args.rows} * args.size) return;
  const int64_t row = index / args.size;
  const int64_t column = index % args.size;
  args.to[row][column] = args.from[row][column];
}

}  // namespace

int LaunchEmbed(const EmbedArgs& args, Stream stream) {
  const unsigned blocks = Blocks(int64_t{args.rows} * args.table.in_features);
  return Launch(EmbedKernel, {blocks}, {kThreads}, 0, stream, args);
}

int LaunchSwiGlu(const SwiGluParams& args, Stream stream) {
  const unsigned blocks = Blocks(int64_t{args.rows} * args.size);
  return Launch(SwiGluKernel, {blocks}, {kThreads}, 0, stream, args);
}

int LaunchGatherRows(const GatherRowsParams& args, Stream stream) {
  const unsigned blocks = Blocks(int64_t{args.rows} * args.size);
  return Launch(GatherRowsKernel, {blocks}, {kThreads}, 0, stream, args);
}

int LaunchCopyRows(const CopyRowsParams& args, Stream stream) {
  const unsigned blocks = Blocks(int64_t{args.rows} * args.size);
  return Launch(CopyRowsKernel, {blocks}, {kThreads}, 0, stream, args);
}

}  // namespace lckv::gpu
