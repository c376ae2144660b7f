#pragma once

// What kernels may use of the language and the device; the one header that tells nvcc from the host
// compiler, under which the same .cu files become the kernels of the simulated GPU (tests/simt).
//
// Arithmetic goes through these functions: each is one operation with IEEE rounding, the same bits
// on every device and in the simulation, never contracted. Exp is the exception: its last bit
// differs between the device's and the host's library.

#if defined(__CUDACC__)

#include <cstdint>

#define LCKV_DEVICE __device__
#define LCKV_HOST_DEVICE __host__ __device__
// A block's shared memory: `count` values under `name`, and the launch's dynamic part.
#define LCKV_SHARED(type, name, count) __shared__ type name[count]
#define LCKV_DYNAMIC_SHARED(type, name) extern __shared__ type name[]

namespace lckv::gpu::device {

LCKV_DEVICE inline float Add(float a, float b) { return __fadd_rn(a, b); }
LCKV_DEVICE inline float Sub(float a, float b) { return __fsub_rn(a, b); }
LCKV_DEVICE inline float Mul(float a, float b) { return __fmul_rn(a, b); }
LCKV_DEVICE inline float Div(float a, float b) { return __fdiv_rn(a, b); }
LCKV_DEVICE inline float Fma(float a, float b, float c) { return __fmaf_rn(a, b, c); }
LCKV_DEVICE inline float Sqrt(float a) { return __fsqrt_rn(a); }
LCKV_DEVICE inline float Max(float a, float b) { return fmaxf(a, b); }
LCKV_DEVICE inline float Exp(float a) { return expf(a); }
LCKV_DEVICE inline float FloatOf(uint32_t bits) { return __uint_as_float(bits); }
LCKV_DEVICE inline uint32_t BitsOf(float value) { return __float_as_uint(value); }

// The value of the lane whose number differs in the bits of `distance`. All 32 lanes must call.
LCKV_DEVICE inline float ShuffleXor(float value, int32_t distance) {
  return __shfl_xor_sync(0xffffffffu, value, distance);
}

}  // namespace lckv::gpu::device

#else

// The same words for the host compiler; a build that simulates a GPU names the header.
#include LCKV_DEVICE_EMULATION

#endif

namespace lckv::gpu::device {

// bf16 and f16 as bits, rounding to nearest even; NaN stays NaN (quiet).
LCKV_DEVICE inline float Bf16ToF32(uint16_t bits) { return FloatOf(uint32_t{bits} << 16); }

LCKV_DEVICE inline uint16_t F32ToBf16(float value) {
  const uint32_t bits = BitsOf(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((bits >> 16) | 0x40u);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

LCKV_DEVICE inline float F16ToF32(uint16_t bits) {
  const uint32_t sign = uint32_t{bits & 0x8000u} << 16;
  const uint32_t magnitude = bits & 0x7fffu;
  if (magnitude >= 0x7c00u) {  // infinity, NaN
    return FloatOf(sign | 0x7f800000u | ((magnitude & 0x3ffu) << 13));
  }
  // Moved into place the exponent is 112 too small; the product is exact, subnormals included.
  return FloatOf(sign | BitsOf(Mul(FloatOf(magnitude << 13), 0x1p112f)));
}

LCKV_DEVICE inline uint16_t F32ToF16(float value) {
  const uint32_t bits = BitsOf(value);
  const uint32_t sign = (bits >> 16) & 0x8000u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  uint32_t half = 0;
  if (magnitude > 0x7f800000u) {
    half = 0x7e00u | ((magnitude >> 13) & 0x3ffu);
  } else if (magnitude >= 0x477ff000u) {  // rounds to 65536 or more
    half = 0x7c00u;
  } else if (magnitude < 0x38800000u) {  // below 2^-14: the unit of the sum's last place is 2^-24
    half = BitsOf(Add(FloatOf(magnitude), 0.5f)) - BitsOf(0.5f);
  } else {
    half = (magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
  }
  return static_cast<uint16_t>(sign | half);
}

}  // namespace lckv::gpu::device
