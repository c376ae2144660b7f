#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/ops/backend.h"

namespace lckv::testing {

inline constexpr float kEpsilon = 0x1p-24f;  // half an ulp of 1: the error of one rounding

// Roughly normal values (sums of integers, so the same on every platform), about one in scale.
std::vector<float> Gaussian(size_t count, uint32_t seed);

double Norm(const float* values, size_t count);
double Largest(const float* values, size_t count);

// `count` bytes of `data` in backend memory, at an address that is 4-byte but not vector aligned.
class DeviceArray {
 public:
  DeviceArray(Backend& backend, const void* data, size_t size_bytes);
  template <typename T>
  DeviceArray(Backend& backend, const std::vector<T>& values)
      : DeviceArray(backend, values.data(), values.size() * sizeof(T)) {}

  template <typename T>
  T* as() const {
    return reinterpret_cast<T*>(buffer_.bytes() + kOffsetBytes);
  }

 private:
  static constexpr size_t kOffsetBytes = 72;  // keeps pointers aligned, vectors not
  DeviceBuffer buffer_;
};

// An output between guard bytes: whatever the op writes beyond its rows is found.
class GuardedOutput {
 public:
  // `initial`: what the output holds before the op.
  GuardedOutput(Backend& backend, const std::vector<float>& initial);

  float* data() const { return reinterpret_cast<float*>(buffer_.bytes() + kGuardBytes); }
  // Waits for the backend, reads back, and looks at the guards.
  std::vector<float> Read(std::string* stray_write) const;

 private:
  static constexpr size_t kGuardBytes = 300;  // more than two vectors, and not aligned
  Backend& backend_;
  size_t size_bytes_;
  DeviceBuffer buffer_;
};

}  // namespace lckv::testing
