#include "tests/conformance/case_data.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iostream>
#include <random>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace lckv::testing {
namespace {

constexpr uint8_t kGuard = 0xA5;

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

DeviceArray::DeviceArray(Backend& backend, const void* data, size_t size_bytes) {
  std::vector<uint8_t> bytes(kOffsetBytes + size_bytes, kGuard);
  if (size_bytes > 0) std::memcpy(bytes.data() + kOffsetBytes, data, size_bytes);
  buffer_ = Upload(backend, bytes);
}

GuardedOutput::GuardedOutput(Backend& backend, const std::vector<float>& initial)
    : backend_(backend), size_bytes_(initial.size() * sizeof(float)) {
  std::vector<uint8_t> bytes(size_bytes_ + 2 * kGuardBytes, kGuard);
  if (size_bytes_ > 0) std::memcpy(bytes.data() + kGuardBytes, initial.data(), size_bytes_);
  buffer_ = Upload(backend, bytes);
}

std::vector<float> GuardedOutput::Read(std::string* stray_write) const {
  const absl::Status status = backend_.Synchronize();
  if (!status.ok()) std::cerr << status << "\n";
  LCKV_CHECK(status.ok());
  std::vector<uint8_t> bytes(buffer_.size_bytes());
  backend_.CopyToHost(bytes.data(), buffer_.data(), bytes.size());
  for (size_t i = 0; i < kGuardBytes; ++i) {
    if (bytes[i] != kGuard) {
      *stray_write = absl::StrCat(kGuardBytes - i, " bytes before the output");
    }
    if (bytes[kGuardBytes + size_bytes_ + i] != kGuard) {
      *stray_write = absl::StrCat(i, " bytes behind the output");
    }
  }
  std::vector<float> values(size_bytes_ / sizeof(float));
  if (size_bytes_ > 0) std::memcpy(values.data(), bytes.data() + kGuardBytes, size_bytes_);
  return values;
}

}  // namespace lckv::testing
