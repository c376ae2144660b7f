// What surrounds a product of quantised rows (products.h): rows of x become int8 or E4M3 with a
// scale of their own; sums become outputs. Also the bias of a product that has none of its own.

#include "engine/ops/cuda/kernels.h"
#include "engine/ops/cuda/launch.cuh"
#include "engine/ops/cuda/reduce.cuh"

namespace lckv::gpu {
namespace {

constexpr int32_t kThreads = 256;

LCKV_DEVICE uint8_t QuantizedValue(float value, DType dtype) {
  if (dtype == DType::kFp8) return device::F32ToE4m3(value);
  const float limited = device::Max(-127.0f, device::Min(127.0f, value));
  return static_cast<uint8_t>(static_cast<int8_t>(device::RoundToInt(limited)));
}

// Block: one row. A row of zeros has scale 0; a NaN in a row makes all of it NaN.
__global__ void __launch_bounds__(kThreads) QuantizeRowsKernel(QuantizeRowsArgs args) {
  LCKV_SHARED(float, partial, 32);
  const auto thread = static_cast<int32_t>(threadIdx.x);
  const int64_t row = blockIdx.x;
  const uint16_t* x = args.x + row * args.size;
  float largest = 0;
  bool nan = false;
  for (int32_t i = thread; i < args.size; i += kThreads) {
    const float value = device::Abs(device::Bf16ToF32(x[i]));
    nan = nan || value != value;
    largest = device::Max(largest, value);
  }
  largest = BlockMax(largest, partial);
  const bool any_nan = BlockMax(nan ? 1.0f : 0.0f, partial) > 0;
  const float scale = device::Div(largest, args.dtype == DType::kFp8 ? 448.0f : 127.0f);
  uint8_t* out = args.out + row * args.pitch;
  for (int32_t i = thread; i < args.pitch; i += kThreads) {
    float value = 0;
    if (i < args.size && scale > 0) value = device::Div(device::Bf16ToF32(x[i]), scale);
    out[i] = any_nan ? 0 : QuantizedValue(value, args.dtype);
  }
  if (thread == 0) args.scales[row] = any_nan ? device::FloatOf(0x7fc00000u) : scale;
}

__global__ void __launch_bounds__(kValueThreads) ScaleSumsKernel(ScaleSumsArgs args) {
  const int64_t index = ValueIndex();
  if (index >= int64_t{args.rows} * args.size) return;
  const int64_t row = index / args.size;
  const int64_t column = index % args.size;
  const float sum = args.integers
                        ? static_cast<float>(static_cast<const int32_t*>(args.sums)[index])
                        : static_cast<const float*>(args.sums)[index];
  float value = device::Mul(device::Mul(sum, args.row_scales[row]), args.column_scales[column]);
  if (args.bias != nullptr) value = device::Add(value, args.bias[column]);
  args.out[index] = args.accumulate ? device::Add(args.out[index], value) : value;
}

__global__ void __launch_bounds__(kValueThreads) AddBiasKernel(AddBiasArgs args) {
  const int64_t index = ValueIndex();
  if (index >= int64_t{args.rows} * args.size) return;
  args.out[index] = device::Add(args.out[index], args.bias[index % args.size]);
}

}  // namespace

int LaunchQuantizeRows(const QuantizeRowsArgs& args, Stream stream) {
  return Launch(QuantizeRowsKernel, {static_cast<unsigned>(args.rows)}, {kThreads}, 0, stream,
                args);
}

int LaunchScaleSums(const ScaleSumsArgs& args, Stream stream) {
  return LaunchValues(ScaleSumsKernel, int64_t{args.rows} * args.size, stream, args);
}

int LaunchAddBias(const AddBiasArgs& args, Stream stream) {
  return LaunchValues(AddBiasKernel, int64_t{args.rows} * args.size, stream, args);
}

}  // namespace lckv::gpu
