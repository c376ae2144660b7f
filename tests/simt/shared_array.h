#pragma once

// What kernels know as a shared array, and as a pointer into one: every access is checked.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>

#include "tests/simt/executor.h"

namespace lckv::simt {

// An element converts to its value and takes one, as a reference would.
template <typename T>
class SharedElement {
 public:
  SharedElement(const SharedArea* area, size_t offset) : area_(area), offset_(offset) {}
  SharedElement(const SharedElement&) = default;
  operator T() const {
    CheckAccess(*area_, offset_, sizeof(T), Access::kRead);
    std::remove_const_t<T> value;
    std::memcpy(&value, area_->data + offset_, sizeof(T));
    return value;
  }
  const SharedElement& operator=(const T& value) const {
    CheckAccess(*area_, offset_, sizeof(T), Access::kWrite);
    std::memcpy(area_->data + offset_, &value, sizeof(T));
    return *this;
  }
  const SharedElement& operator=(const SharedElement& other) const {
    return *this = static_cast<T>(other);
  }

 private:
  const SharedArea* area_;
  size_t offset_;
};

template <typename T>
class SharedPointer {
 public:
  using element_type = T;

  SharedPointer(const SharedArea* area, size_t offset) : area_(area), offset_(offset) {}
  operator SharedPointer<const T>() const requires(!std::is_const_v<T>) { return {area_, offset_}; }
  SharedElement<T> operator[](int64_t index) const { return {area_, At(index)}; }
  SharedElement<T> operator*() const { return {area_, offset_}; }
  SharedPointer operator+(int64_t count) const { return {area_, At(count)}; }

  const SharedArea& area() const { return *area_; }
  size_t offset() const { return offset_; }  // bytes

 private:
  size_t At(int64_t index) const { return offset_ + static_cast<size_t>(index) * sizeof(T); }

  const SharedArea* area_;
  size_t offset_;
};

template <typename T>
class SharedArray {
  static_assert(sizeof(T) == 1 || sizeof(T) == 2 || sizeof(T) % 4 == 0);

 public:
  static constexpr size_t kUnitBytes = sizeof(T) < 4 ? sizeof(T) : 4;

  // `tag`, `bytes` as for SharedMemory().
  SharedArray(const void* tag, size_t bytes) : area_(&SharedMemory(tag, bytes, kUnitBytes)) {}
  SharedElement<T> operator[](int64_t index) const {
    return {area_, static_cast<size_t>(index) * sizeof(T)};
  }
  SharedPointer<T> operator+(int64_t index) const {
    return {area_, static_cast<size_t>(index) * sizeof(T)};
  }
  operator SharedPointer<T>() const { return {area_, 0}; }
  operator SharedPointer<const T>() const { return {area_, 0}; }

 private:
  const SharedArea* area_;
};

// Fails unless `value` is a multiple of `alignment`.
inline void CheckAligned(const char* what, size_t value, size_t alignment) {
  if (value % alignment == 0) return;
  Fail(std::string("uses a misaligned address of ") + what);
}

}  // namespace lckv::simt
