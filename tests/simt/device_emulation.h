#pragma once

// engine/ops/cuda/device.cuh for the host compiler: the device's words, said by the executor.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <typeinfo>

#include "tests/simt/executor.h"

#define LCKV_DEVICE
#define LCKV_HOST_DEVICE
#define __global__
#define __launch_bounds__(threads)
#define LCKV_SHARED(type, name, count) \
  static const char name##_tag = 0;    \
  ::lckv::simt::SharedArray<type> name(&name##_tag, (count) * sizeof(type))
#define LCKV_DYNAMIC_SHARED(type, name) ::lckv::simt::SharedArray<type> name(nullptr, 0)

#define threadIdx (::lckv::simt::Self().thread_idx)
#define blockIdx (::lckv::simt::Self().block_idx)
#define blockDim (::lckv::simt::Self().block_dim)
#define gridDim (::lckv::simt::Self().grid_dim)
#define __syncthreads() ::lckv::simt::SyncThreads()

namespace lckv::simt {

// A shared array whose every access is checked. An element converts to its value and takes one, as
// a reference would.
template <typename T>
class SharedArray {
  static_assert(sizeof(T) % 4 == 0, "accesses are recorded by 4 bytes");

 public:
  class Element {
   public:
    Element(const SharedArea& area, size_t offset) : area_(area), offset_(offset) {}
    operator T() const {
      CheckAccess(area_, offset_, sizeof(T), /*write=*/false);
      T value;
      std::memcpy(&value, area_.data + offset_, sizeof(T));
      return value;
    }
    const Element& operator=(const T& value) const {
      CheckAccess(area_, offset_, sizeof(T), /*write=*/true);
      std::memcpy(area_.data + offset_, &value, sizeof(T));
      return *this;
    }
    const Element& operator=(const Element& other) const { return *this = static_cast<T>(other); }
    Element(const Element&) = default;

   private:
    const SharedArea& area_;
    const size_t offset_;
  };

  SharedArray(const void* tag, size_t bytes) : area_(SharedMemory(tag, bytes)) {}
  Element operator[](int64_t index) const {
    return Element(area_, static_cast<size_t>(index) * sizeof(T));
  }

 private:
  const SharedArea area_;
};

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
inline float Max(float a, float b) { return std::fmax(a, b); }
inline float Exp(float a) { return std::exp(a); }
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
inline float ShuffleXor(float value, int32_t distance) {
  return FloatOf(simt::ShuffleXorBits(BitsOf(value), distance));
}

}  // namespace device
}  // namespace lckv::gpu
