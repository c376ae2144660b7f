// Ops in which one thread makes one value: embedding rows, SwiGLU, copies of rows.

#include "engine/ops/cuda/formats.cuh"
#include "engine/ops/cuda/kernels.h"
#include "engine/ops/cuda/launch.cuh"

namespace lckv::gpu {
namespace {

__global__ void __launch_bounds__(kValueThreads) EmbedKernel(EmbedArgs args) {
  const int32_t size = args.table.in_features;
  const int64_t index = ValueIndex();
  if (index >= int64_t{args.rows} * size) return;
  const int64_t token = args.tokens[index / size];
  args.out[index] = LoadWeight(args.table, token, static_cast<int32_t>(index % size));
}

__global__ void __launch_bounds__(kValueThreads) SwiGluKernel(SwiGluParams args) {
  const int64_t index = ValueIndex();
  if (index >= int64_t{args.rows} * args.size) return;
  const float gate = args.gate[index];
  const float silu = device::Div(gate, device::Add(1.0f, device::Exp(-gate)));
  StoreActivation(args.out, index, device::Mul(silu, args.up[index]));
}

__global__ void __launch_bounds__(kValueThreads) GatherRowsKernel(GatherRowsParams args) {
  const int64_t index = ValueIndex();
  if (index >= int64_t{args.rows} * args.size) return;
  const int64_t from = args.indices[index / args.size];
  args.out[index] = args.x[from * args.size + index % args.size];
}

__global__ void __launch_bounds__(kValueThreads) CopyRowsKernel(CopyRowsParams args) {
  const int64_t index = ValueIndex();
  if (index >= int64_t{args.rows} * args.size) return;
  const int64_t row = index / args.size;
  const int64_t column = index % args.size;
  args.to[row][column] = args.from[row][column];
}

}  // namespace

int LaunchEmbed(const EmbedArgs& args, Stream stream) {
  return LaunchValues(EmbedKernel, int64_t{args.rows} * args.table.in_features, stream, args);
}

int LaunchSwiGlu(const SwiGluParams& args, Stream stream) {
  return LaunchValues(SwiGluKernel, int64_t{args.rows} * args.size, stream, args);
}

int LaunchGatherRows(const GatherRowsParams& args, Stream stream) {
  return LaunchValues(GatherRowsKernel, int64_t{args.rows} * args.size, stream, args);
}

int LaunchCopyRows(const CopyRowsParams& args, Stream stream) {
  return LaunchValues(CopyRowsKernel, int64_t{args.rows} * args.size, stream, args);
}

}  // namespace lckv::gpu
