#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/ops/backend.h"

namespace lckv::testing {

inline constexpr float kEpsilon = 0x1p-24f;  // half an ulp of 1: the error of one rounding

// The relative error of a value rounded to `dtype` in the end; float32 is in the other terms.
inline double RoundingOf(DType dtype) { return dtype == DType::kF32 ? 0 : 0x1p-8; }

// Roughly normal values (sums of integers, so the same on every platform), about one in scale.
std::vector<float> Gaussian(size_t count, uint32_t seed);

// `values` rounded to `dtype` (kF32, kF16 or kBf16).
std::vector<float> Rounded(const std::vector<float>& values, DType dtype);

// cos_sin of RopeAndStoreParams for a base of 10000.
std::vector<float> RotaryTable(int positions, int head_dim);

double Norm(const float* values, size_t count);
double Largest(const float* values, size_t count);

// `count` bytes of `data` in backend memory. In host memory the address is 4-byte but not vector
// aligned; ops on devices are promised the alignment of their allocations.
class DeviceArray {
 public:
  DeviceArray(Backend& backend, const void* data, size_t size_bytes);
  template <typename T>
  DeviceArray(Backend& backend, const std::vector<T>& values)
      : DeviceArray(backend, values.data(), values.size() * sizeof(T)) {}

  template <typename T>
  T* as() const {
    return reinterpret_cast<T*>(buffer_.bytes() + offset_bytes_);
  }

 private:
  size_t offset_bytes_;
  DeviceBuffer buffer_;
};

// `values` as what the backend's products read; exact if they are Rounded.
class ActivationArray {
 public:
  ActivationArray(Backend& backend, const std::vector<float>& values);
  ConstActivations view() const { return Activations(array_.as<void>(), dtype_); }

 private:
  DType dtype_;
  DeviceArray array_;
};

// An output between guard bytes: whatever the op writes beyond its rows is found.
class GuardedOutput {
 public:
  // `initial`: what the output holds before the op; `dtype`: kF32 or kBf16.
  GuardedOutput(Backend& backend, const std::vector<float>& initial, DType dtype = DType::kF32);

  float* data() const { return static_cast<float*>(activations().data); }
  Activations activations() const { return {buffer_.bytes() + guard_bytes_, dtype_}; }
  // Waits for the backend, reads back, and looks at the guards.
  std::vector<float> Read(std::string* stray_write) const;

 private:
  Backend& backend_;
  const DType dtype_;
  const size_t guard_bytes_;
  const size_t count_;
  DeviceBuffer buffer_;
};

}  // namespace lckv::testing
