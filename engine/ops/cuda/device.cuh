#pragma once

// What kernels may use of the language and the device; the one header that tells nvcc from the host
// compiler, under which the same .cu files become the kernels of the simulated GPU (tests/simt).
//
// Arithmetic goes through these functions: each is one operation with IEEE rounding, the same bits
// on every device and in the simulation, never contracted. Exp is the exception: its last bit
// differs between the device's and the host's library.
//
// Shared memory is named by arrays and by SharedPointer<T>, which `array + index` gives; kernels
// write no T* for it. Beside the functions below they use threadIdx, blockIdx, blockDim, gridDim,
// __syncthreads(), __syncwarp() and __threadfence(). Blocks must not wait for one another.

#include <cstdint>

#include "engine/ops/host_device.h"

namespace lckv::gpu::device {

// 16 bytes that move at once.
struct alignas(16) Vec16 {
  uint32_t words[4];
};

inline constexpr uint32_t kAllLanes = 0xffffffffu;

}  // namespace lckv::gpu::device

#if defined(__CUDACC__)

#define LCKV_DEVICE __device__
// Before a loop with a constant count, whose arrays are to stay in registers.
#define LCKV_UNROLL _Pragma("unroll")
// A block's shared memory: `count` values under `name`, and the launch's dynamic part, declared
// with the narrowest type that it is used as. Both are aligned to 16 bytes.
#define LCKV_SHARED(type, name, count) __shared__ __align__(16) type name[count]
// All kernels of a file share one symbol for it, which has one type; hence the bytes in between.
#define LCKV_DYNAMIC_SHARED(type, name)                          \
  extern __shared__ __align__(16) unsigned char lckv_dynamic_[]; \
  type* const name = reinterpret_cast<type*>(lckv_dynamic_)

namespace lckv::gpu::device {

LCKV_DEVICE inline float Add(float a, float b) { return __fadd_rn(a, b); }
LCKV_DEVICE inline float Sub(float a, float b) { return __fsub_rn(a, b); }
LCKV_DEVICE inline float Mul(float a, float b) { return __fmul_rn(a, b); }
LCKV_DEVICE inline float Div(float a, float b) { return __fdiv_rn(a, b); }
LCKV_DEVICE inline float Fma(float a, float b, float c) { return __fmaf_rn(a, b, c); }
LCKV_DEVICE inline float Sqrt(float a) { return __fsqrt_rn(a); }
LCKV_DEVICE inline float Rsqrt(float a) { return __frsqrt_rn(a); }
// A NaN operand gives way to the other one.
LCKV_DEVICE inline float Max(float a, float b) { return fmaxf(a, b); }
LCKV_DEVICE inline float Min(float a, float b) { return fminf(a, b); }
LCKV_DEVICE inline float Abs(float a) { return fabsf(a); }
LCKV_DEVICE inline float Floor(float a) { return floorf(a); }
LCKV_DEVICE inline float Exp(float a) { return expf(a); }
// Last bits as with Exp.
LCKV_DEVICE inline float Log(float a) { return logf(a); }
// To nearest even.
LCKV_DEVICE inline int32_t RoundToInt(float a) { return __float2int_rn(a); }
// 2^a, approximate: within 2 ulp, last bits as with Exp; results below 2^-126 may be 0.
LCKV_DEVICE inline float Exp2(float a) {
  float power;
  asm("ex2.approx.ftz.f32 %0, %1;\n" : "=f"(power) : "f"(a));
  return power;
}
LCKV_DEVICE inline float FloatOf(uint32_t bits) { return __uint_as_float(bits); }
LCKV_DEVICE inline uint32_t BitsOf(float value) { return __float_as_uint(value); }

// Warp operations. All lanes in `lanes`, of which the caller is one, must call with the same
// `lanes`; they read from one another only. T: int32_t, uint32_t, float.
//
// ShuffleXor: the value of the lane whose number differs in the bits of `distance`; ShuffleDown: of
// the one `distance` higher, beyond lane 31 the own value; Shuffle: of lane `lane`. `distance` is
// the same for all.
template <typename T>
LCKV_DEVICE inline T ShuffleXor(T value, int32_t distance, uint32_t lanes = kAllLanes) {
  return __shfl_xor_sync(lanes, value, distance);
}
template <typename T>
LCKV_DEVICE inline T ShuffleDown(T value, int32_t distance, uint32_t lanes = kAllLanes) {
  return __shfl_down_sync(lanes, value, static_cast<unsigned>(distance));
}
template <typename T>
LCKV_DEVICE inline T Shuffle(T value, int32_t lane, uint32_t lanes = kAllLanes) {
  return __shfl_sync(lanes, value, lane);
}
// Bit i: lane i said yes.
LCKV_DEVICE inline uint32_t Ballot(bool yes, uint32_t lanes = kAllLanes) {
  return __ballot_sync(lanes, yes);
}
LCKV_DEVICE inline bool Any(bool yes, uint32_t lanes = kAllLanes) {
  return __any_sync(lanes, yes) != 0;
}
LCKV_DEVICE inline bool All(bool yes, uint32_t lanes = kAllLanes) {
  return __all_sync(lanes, yes) != 0;
}

template <typename T>
using SharedPointer = T*;
// The same memory as values of another type; the place must be aligned for it.
template <typename To, typename From>
LCKV_DEVICE inline SharedPointer<To> SharedAs(From* from) {
  return reinterpret_cast<To*>(from);
}

// Atomics on global (T*) and shared memory (`array + index`); the result is the value before. Add:
// int32_t, uint32_t, uint64_t, float (in any order, so its bits may vary); Max: the integers;
// CompareAndSwap: the integers, writes `desired` where it finds `expected`.
LCKV_DEVICE inline int32_t AtomicAdd(int32_t* at, int32_t value) { return atomicAdd(at, value); }
LCKV_DEVICE inline uint32_t AtomicAdd(uint32_t* at, uint32_t value) { return atomicAdd(at, value); }
LCKV_DEVICE inline float AtomicAdd(float* at, float value) { return atomicAdd(at, value); }
LCKV_DEVICE inline uint64_t AtomicAdd(uint64_t* at, uint64_t value) {
  return atomicAdd(reinterpret_cast<unsigned long long*>(at), value);
}
LCKV_DEVICE inline int32_t AtomicMax(int32_t* at, int32_t value) { return atomicMax(at, value); }
LCKV_DEVICE inline uint32_t AtomicMax(uint32_t* at, uint32_t value) { return atomicMax(at, value); }
LCKV_DEVICE inline uint64_t AtomicMax(uint64_t* at, uint64_t value) {
  return atomicMax(reinterpret_cast<unsigned long long*>(at), value);
}
LCKV_DEVICE inline int32_t CompareAndSwap(int32_t* at, int32_t expected, int32_t desired) {
  return atomicCAS(at, expected, desired);
}
LCKV_DEVICE inline uint32_t CompareAndSwap(uint32_t* at, uint32_t expected, uint32_t desired) {
  return atomicCAS(at, expected, desired);
}
LCKV_DEVICE inline uint64_t CompareAndSwap(uint64_t* at, uint64_t expected, uint64_t desired) {
  return atomicCAS(reinterpret_cast<unsigned long long*>(at), expected, desired);
}

// 16 bytes of global memory or of shared memory (`array + index`), aligned to 16.
LCKV_DEVICE inline Vec16 Load16(const void* from) {
  const uint4 value = *static_cast<const uint4*>(from);
  return {{value.x, value.y, value.z, value.w}};
}
// The same of global memory that the multiprocessor reads once and nobody writes meanwhile: it
// displaces nothing in the L1 cache. Loads stay in the order in which they are written.
LCKV_DEVICE inline Vec16 LoadOnce16(const void* from) {
  Vec16 value;
  asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(value.words[0]), "=r"(value.words[1]), "=r"(value.words[2]),
                 "=r"(value.words[3])
               : "l"(__cvta_generic_to_global(from)));
  return value;
}
LCKV_DEVICE inline void Store16(void* to, const Vec16& value) {
  *static_cast<uint4*>(to) =
      make_uint4(value.words[0], value.words[1], value.words[2], value.words[3]);
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

// FP8 E4M3: bias 7, no infinities, 0x7f and 0xff are NaN. Beyond 448, infinities included, numbers
// become +-448, as the device's own saturating conversion has it.
LCKV_DEVICE inline float E4m3ToF32(uint8_t bits) {
  const uint32_t sign = uint32_t{bits & 0x80u} << 24;
  const uint32_t magnitude = bits & 0x7fu;
  if (magnitude == 0x7fu) return FloatOf(sign | 0x7fc00000u);
  // Moved into place the exponent is 120 too small; the product is exact, subnormals included.
  return FloatOf(sign | BitsOf(Mul(FloatOf(magnitude << 20), 0x1p120f)));
}

LCKV_DEVICE inline uint8_t F32ToE4m3(float value) {
  const uint32_t bits = BitsOf(value);
  const uint32_t sign = (bits >> 24) & 0x80u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  uint32_t small = 0;
  if (magnitude > 0x7f800000u) {
    small = 0x7fu;
  } else if (magnitude >= 0x43e00000u) {  // 448 or more
    small = 0x7eu;
  } else if (magnitude < 0x3c800000u) {  // below 2^-6: the unit of the sum's last place is 2^-9
    small = BitsOf(Add(FloatOf(magnitude), 16384.0f)) - BitsOf(16384.0f);
  } else {
    small = (magnitude - 0x3c000000u + 0x7ffffu + ((magnitude >> 20) & 1u)) >> 20;
  }
  return static_cast<uint8_t>(sign | small);
}

}  // namespace lckv::gpu::device
