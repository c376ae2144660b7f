#include "tests/conformance/case_data.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iostream>
#include <random>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "engine/tensor/host_matrix.h"

namespace lckv::testing {
namespace {

constexpr uint8_t kGuard = 0xA5;
// More than two vectors. Where memory is the host's they keep pointers aligned, vectors not.
constexpr size_t kHostOffsetBytes = 72;
constexpr size_t kHostGuardBytes = 300;
constexpr size_t kDeviceGuardBytes = 512;

std::vector<uint8_t> BytesOfValues(const std::vector<float>& values, DType dtype) {
  const auto count = static_cast<int64_t>(values.size());
  std::vector<uint8_t> bytes(static_cast<size_t>(BytesOf(dtype, count)));
  if (count > 0) QuantizeRow(values.data(), count, dtype, bytes.data());
  return bytes;
}

std::vector<float> ValuesOfBytes(const uint8_t* bytes, size_t count, DType dtype) {
  std::vector<float> values(count);
  if (count > 0) {
    DequantizeRow({bytes, dtype, 1, static_cast<int64_t>(count)}, 0, values.data());
  }
  return values;
}

DeviceBuffer Upload(Backend& backend, const std::vector<uint8_t>& bytes) {
  auto buffer = backend.Allocate(bytes.size());
  LCKV_CHECK(buffer.ok());
  backend.CopyToDevice(buffer->data(), bytes.data(), bytes.size());
  return *std::move(buffer);
}

}  // namespace

std::vector<float> Gaussian(size_t count, uint32_t seed) {
  std::mt19937 rng(seed);
  std::vector<float> values(count);
  for (float& value : values) {
    int sum = 0;
    for (int i = 0; i < 4; ++i) sum += static_cast<int>(rng() & 0xFFFF) - 0x8000;
    value = static_cast<float>(sum) / 0x9000;
  }
  return values;
}

std::vector<float> RotaryTable(int positions, int head_dim) {
  std::vector<float> table;
  for (int position = 0; position < positions; ++position) {
    for (int part = 0; part < 2; ++part) {
      for (int i = 0; i < head_dim / 2; ++i) {
        const double angle = position * std::pow(10000.0, -2.0 * i / head_dim);
        table.push_back(static_cast<float>(part == 0 ? std::cos(angle) : std::sin(angle)));
      }
    }
  }
  return table;
}

double Norm(const float* values, size_t count) {
  double sum = 0;
  for (size_t i = 0; i < count; ++i) sum += static_cast<double>(values[i]) * values[i];
  return std::sqrt(sum);
}

double Largest(const float* values, size_t count) {
  double largest = 0;
  for (size_t i = 0; i < count; ++i) {
    largest = std::max(largest, static_cast<double>(std::abs(values[i])));
  }
  return largest;
}

std::vector<float> Rounded(const std::vector<float>& values, DType dtype) {
  return ValuesOfBytes(BytesOfValues(values, dtype).data(), values.size(), dtype);
}

DeviceArray::DeviceArray(Backend& backend, const void* data, size_t size_bytes)
    : offset_bytes_(backend.memory_is_host() ? kHostOffsetBytes : kDeviceGuardBytes) {
  std::vector<uint8_t> bytes(offset_bytes_ + size_bytes, kGuard);
  if (size_bytes > 0) std::memcpy(bytes.data() + offset_bytes_, data, size_bytes);
  buffer_ = Upload(backend, bytes);
}

ActivationArray::ActivationArray(Backend& backend, const std::vector<float>& values)
    : dtype_(backend.activation_dtype()), array_(backend, BytesOfValues(values, dtype_)) {}

GuardedOutput::GuardedOutput(Backend& backend, const std::vector<float>& initial, DType dtype)
    : backend_(backend),
      dtype_(dtype),
      guard_bytes_(backend.memory_is_host() ? kHostGuardBytes : kDeviceGuardBytes),
      count_(initial.size()) {
  const std::vector<uint8_t> values = BytesOfValues(initial, dtype);
  std::vector<uint8_t> bytes(values.size() + 2 * guard_bytes_, kGuard);
  std::copy(values.begin(), values.end(), bytes.begin() + static_cast<int64_t>(guard_bytes_));
  buffer_ = Upload(backend, bytes);
}

std::vector<float> GuardedOutput::Read(std::string* stray_write) const {
  const absl::Status status = backend_.Synchronize();
  if (!status.ok()) std::cerr << status << "\n";
  LCKV_CHECK(status.ok());
  std::vector<uint8_t> bytes(buffer_.size_bytes());
  backend_.CopyToHost(bytes.data(), buffer_.data(), bytes.size());
  for (size_t i = 0; i < guard_bytes_; ++i) {
    if (bytes[i] != kGuard) {
      *stray_write = absl::StrCat(guard_bytes_ - i, " bytes before the output");
    }
    if (bytes[bytes.size() - guard_bytes_ + i] != kGuard) {
      *stray_write = absl::StrCat(i, " bytes behind the output");
    }
  }
  return ValuesOfBytes(bytes.data() + guard_bytes_, count_, dtype_);
}

}  // namespace lckv::testing
