#pragma once

// engine/ops/cuda/device.cuh and mma.cuh for the host compiler: the device's words, said by the
// executor.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <type_traits>
#include <typeinfo>

#include "tests/simt/executor.h"
#include "tests/simt/shared_array.h"
#include "tests/simt/stream.h"

#define LCKV_DEVICE
#define LCKV_UNROLL
#define __global__
#define __launch_bounds__(...)
#define LCKV_SHARED(type, name, count) \
  static const char name##_tag = 0;    \
  ::lckv::simt::SharedArray<type> name(&name##_tag, (count) * sizeof(type))
#define LCKV_DYNAMIC_SHARED(type, name) ::lckv::simt::SharedArray<type> name(nullptr, 0)

#define threadIdx (::lckv::simt::Self().thread_idx)
#define blockIdx (::lckv::simt::Self().block_idx)
#define blockDim (::lckv::simt::Self().block_dim)
#define gridDim (::lckv::simt::Self().grid_dim)
#define __syncthreads() ::lckv::simt::SyncThreads(__LINE__)
#define __syncwarp() ::lckv::simt::SyncWarp(0xffffffffu)
// One thread runs at a time: what it wrote is there.
#define __threadfence() ::lckv::simt::MaybeSwitch()

namespace lckv::simt {

template <typename Args>
std::string NameOf() {
  return typeid(Args).name();
}

}  // namespace lckv::simt

namespace lckv::gpu {

using std::max;
using std::min;

namespace device {

inline float Add(float a, float b) { return a + b; }
inline float Sub(float a, float b) { return a - b; }
inline float Mul(float a, float b) { return a * b; }
inline float Div(float a, float b) { return a / b; }
inline float Fma(float a, float b, float c) { return std::fma(a, b, c); }
inline float Sqrt(float a) { return std::sqrt(a); }
// Rounding twice does no harm here: no float comes close enough to the middle between two others.
inline float Rsqrt(float a) { return static_cast<float>(1.0 / std::sqrt(double{a})); }
inline float Max(float a, float b) { return std::fmax(a, b); }
inline float Min(float a, float b) { return std::fmin(a, b); }
inline float Abs(float a) { return std::fabs(a); }
inline float Floor(float a) { return std::floor(a); }
inline float Exp(float a) { return std::exp(a); }
inline float Log(float a) { return std::log(a); }
inline int32_t RoundToInt(float a) { return static_cast<int32_t>(std::nearbyint(a)); }
inline float Exp2(float a) { return std::exp2(a); }
inline float FloatOf(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}
inline uint32_t BitsOf(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}

// What lane `from` passed to the operation.
template <typename T>
[[gnu::always_inline]] inline T Exchanged(const simt::WarpOperation& operation, T value,
                                          int32_t from) {
  static_assert(sizeof(T) == 4 && std::is_arithmetic_v<T>);
  uint32_t mine;
  std::memcpy(&mine, &value, sizeof(value));
  if (from < 0 || from >= simt::kWarpSize || (operation.lanes >> from & 1u) == 0) {
    simt::Fail(std::string("calls ") + operation.name + ", which reads lane " +
               std::to_string(from) + ", not one of those that call");
  }
  const simt::LaneWords* const all = simt::Exchange(operation, &mine, 1);
  std::memcpy(&value, all[from].data(), sizeof(value));
  return value;
}
template <typename T>
[[gnu::always_inline]] inline T ShuffleXor(T value, int32_t distance, uint32_t lanes = kAllLanes) {
  return Exchanged({"ShuffleXor", lanes, distance}, value, simt::Lane() ^ distance);
}
template <typename T>
[[gnu::always_inline]] inline T ShuffleDown(T value, int32_t distance, uint32_t lanes = kAllLanes) {
  const int32_t from = simt::Lane() + distance;
  return Exchanged({"ShuffleDown", lanes, distance}, value,
                   from < simt::kWarpSize ? from : simt::Lane());
}
template <typename T>
[[gnu::always_inline]] inline T Shuffle(T value, int32_t lane, uint32_t lanes = kAllLanes) {
  return Exchanged({"Shuffle", lanes, 0}, value, lane);
}

inline uint32_t Ballot(bool yes, uint32_t lanes = kAllLanes) {
  const uint32_t mine = yes ? 1 : 0;
  const simt::LaneWords* const all = simt::Exchange({"a vote", lanes, 0}, &mine, 1);
  uint32_t ballot = 0;
  for (int lane = 0; lane < simt::kWarpSize; ++lane) {
    if ((lanes >> lane & 1u) != 0) ballot |= all[lane][0] << lane;
  }
  return ballot;
}
inline bool Any(bool yes, uint32_t lanes = kAllLanes) { return Ballot(yes, lanes) != 0; }
inline bool All(bool yes, uint32_t lanes = kAllLanes) { return Ballot(yes, lanes) == lanes; }

template <typename T>
using SharedPointer = simt::SharedPointer<T>;
template <typename To, typename From>
SharedPointer<To> SharedAs(SharedPointer<From> from) {
  static_assert(sizeof(To) >= simt::SharedArray<std::remove_const_t<From>>::kUnitBytes,
                "declare the array with the narrower type");
  simt::CheckAligned("shared memory", from.offset(), alignof(To));
  return {&from.area(), from.offset()};
}
template <typename To, typename From>
SharedPointer<To> SharedAs(const simt::SharedArray<From>& from) {
  return SharedAs<To>(from + 0);
}

// Atomics: `change(before)` is the value after.
template <typename T, typename Change>
T Atomically(T* at, const Change& change) {
  simt::CheckAligned("global memory", reinterpret_cast<uintptr_t>(at), sizeof(T));
  simt::MaybeSwitch();
  const T before = *at;
  *at = change(before);
  return before;
}
template <typename T, typename Change>
T Atomically(SharedPointer<T> at, const Change& change) {
  simt::CheckAligned("shared memory", at.offset(), sizeof(T));
  simt::MaybeSwitch();
  simt::CheckAccess(at.area(), at.offset(), sizeof(T), simt::Access::kAtomic);
  unsigned char* const data = at.area().data + at.offset();
  T before;
  std::memcpy(&before, data, sizeof(T));
  const T after = change(before);
  std::memcpy(data, &after, sizeof(T));
  return before;
}

// Of T* and of SharedPointer<T>: T.
template <typename Pointer>
using ValueAt = typename std::pointer_traits<Pointer>::element_type;
template <typename T>
concept AtomicInteger =
    std::is_same_v<T, int32_t> || std::is_same_v<T, uint32_t> || std::is_same_v<T, uint64_t>;

template <typename Pointer, typename T = ValueAt<Pointer>>
T AtomicAdd(Pointer at, ValueAt<Pointer> value) {
  static_assert(AtomicInteger<T> || std::is_same_v<T, float>);
  return Atomically(at, [value](T before) { return static_cast<T>(before + value); });
}
template <typename Pointer, typename T = ValueAt<Pointer>>
T AtomicMax(Pointer at, ValueAt<Pointer> value) {
  static_assert(AtomicInteger<T>);
  return Atomically(at, [value](T before) { return std::max(before, value); });
}
template <typename Pointer, typename T = ValueAt<Pointer>>
T CompareAndSwap(Pointer at, ValueAt<Pointer> expected, ValueAt<Pointer> desired) {
  static_assert(AtomicInteger<T>);
  return Atomically(at, [=](T before) { return before == expected ? desired : before; });
}

inline Vec16 Load16(const void* from) {
  simt::CheckAligned("global memory", reinterpret_cast<uintptr_t>(from), sizeof(Vec16));
  Vec16 value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}
inline Vec16 LoadOnce16(const void* from) { return Load16(from); }
inline void Store16(void* to, const Vec16& value) {
  simt::CheckAligned("global memory", reinterpret_cast<uintptr_t>(to), sizeof(Vec16));
  std::memcpy(to, &value, sizeof(value));
}
template <typename T>
Vec16 Load16(SharedPointer<T> from) {
  simt::CheckAligned("shared memory", from.offset(), sizeof(Vec16));
  simt::CheckAccess(from.area(), from.offset(), sizeof(Vec16), simt::Access::kRead);
  Vec16 value;
  std::memcpy(&value, from.area().data + from.offset(), sizeof(value));
  return value;
}
template <typename T>
void Store16(SharedPointer<T> to, const Vec16& value) {
  simt::CheckAligned("shared memory", to.offset(), sizeof(Vec16));
  simt::CheckAccess(to.area(), to.offset(), sizeof(Vec16), simt::Access::kWrite);
  std::memcpy(to.area().data + to.offset(), &value, sizeof(value));
}

}  // namespace device
}  // namespace lckv::gpu

#include "tests/simt/mma_emulation.h"
