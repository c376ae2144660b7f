#pragma once

// Fixed-width unsigned integers in a stated byte order, whatever the machine's own.

#include <cstddef>
#include <string>

namespace lckv {

template <typename T>
void AppendLittleEndian(std::string& out, T value) {
  for (size_t i = 0; i < sizeof(T); ++i) out.push_back(static_cast<char>(value >> (8 * i) & 0xff));
}

// REQUIRES: sizeof(T) readable bytes at `bytes`.
template <typename T>
T LoadLittleEndian(const char* bytes) {
  T value = 0;
  for (size_t i = 0; i < sizeof(T); ++i) {
    value = static_cast<T>(value | T{static_cast<unsigned char>(bytes[i])} << (8 * i));
  }
  return value;
}

// Big endian: the order of the encoded bytes is the order of the numbers, as keys need it.
template <typename T>
void AppendBigEndian(std::string& out, T value) {
  for (size_t i = sizeof(T); i > 0; --i) {
    out.push_back(static_cast<char>(value >> (8 * (i - 1)) & 0xff));
  }
}

}  // namespace lckv
