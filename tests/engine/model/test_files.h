#pragma once

// Small model files for tests, written byte by byte.

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "base/check.h"
#include "base/units.h"
#include "engine/tensor/host_matrix.h"

namespace lckv::testing {

// A directory that vanishes with this object.
class TempDir {
 public:
  TempDir() {
    std::string pattern = (std::filesystem::temp_directory_path() / "lckv-test-XXXXXX").string();
    LCKV_CHECK(mkdtemp(pattern.data()) != nullptr);
    path_ = pattern;
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  const std::string& path() const { return path_; }
  std::string File(absl::string_view name) const { return absl::StrCat(path_, "/", name); }
  // Returns the file's path.
  std::string Write(absl::string_view name, absl::string_view bytes) const {
    std::ofstream out(File(name), std::ios::binary | std::ios::trunc);
    out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    out.close();
    LCKV_CHECK(out.good());
    return File(name);
  }

 private:
  std::string path_;
};

// Damages one bit of a file at a time, in place: cheaper than writing the file anew.
class BitFlipper {
 public:
  BitFlipper(const std::string& path, std::string bytes)
      : fd_(open(path.c_str(), O_WRONLY | O_CLOEXEC)), bytes_(std::move(bytes)) {
    LCKV_CHECK(fd_ >= 0);
  }
  BitFlipper(const BitFlipper&) = delete;
  BitFlipper& operator=(const BitFlipper&) = delete;
  ~BitFlipper() { close(fd_); }

  // Flips a bit; the same call again restores it.
  void Flip(size_t byte, int bit) {
    bytes_[byte] = static_cast<char>(bytes_[byte] ^ (1 << bit));
    LCKV_CHECK(pwrite(fd_, &bytes_[byte], 1, static_cast<off_t>(byte)) == 1);
  }

 private:
  const int fd_;
  std::string bytes_;
};

inline std::string ReadFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  LCKV_CHECK(in.good());
  return std::string(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
}

template <typename T>
std::string Raw(T value) {
  std::string bytes(sizeof(T), '\0');
  std::memcpy(bytes.data(), &value, sizeof(T));
  return bytes;
}

// A matrix with its own bytes.
struct TestTensor {
  std::string name;
  DType dtype = DType::kF32;
  int64_t rows = 1;  // 1: stored as a vector
  int64_t cols = 1;
  std::string bytes;
};

// `values` [rows][cols] rounded to `dtype`.
inline TestTensor MakeTensor(absl::string_view name, DType dtype, int64_t rows, int64_t cols,
                             const std::vector<float>& values) {
  LCKV_CHECK(static_cast<int64_t>(values.size()) == rows * cols);
  const auto row_bytes = static_cast<size_t>(BytesOf(dtype, cols));
  TestTensor tensor{std::string(name), dtype, rows, cols,
                    std::string(row_bytes * static_cast<size_t>(rows), '\0')};
  for (int64_t row = 0; row < rows; ++row) {
    QuantizeRow(values.data() + row * cols, cols, dtype,
                tensor.bytes.data() + static_cast<size_t>(row) * row_bytes);
  }
  return tensor;
}

inline std::string SafetensorsBytes(absl::string_view header, absl::string_view data) {
  return absl::StrCat(Raw(static_cast<uint64_t>(header.size())), header, data);
}

inline std::string SafetensorsBytes(const std::vector<TestTensor>& tensors) {
  std::vector<std::string> entries = {R"("__metadata__":{"format":"pt"})"};
  std::string data;
  for (const TestTensor& t : tensors) {
    const char* dtype = t.dtype == DType::kF32 ? "F32" : t.dtype == DType::kF16 ? "F16" : "BF16";
    const std::string shape =
        t.rows == 1 ? absl::StrCat("[", t.cols, "]") : absl::StrCat("[", t.rows, ",", t.cols, "]");
    entries.push_back(absl::StrCat("\"", t.name, "\":{\"dtype\":\"", dtype, "\",\"shape\":", shape,
                                   ",\"data_offsets\":[", data.size(), ",",
                                   data.size() + t.bytes.size(), "]}"));
    data += t.bytes;
  }
  return SafetensorsBytes(absl::StrCat("{", absl::StrJoin(entries, ","), "}"), data);
}

// Value types of GGUF metadata, as numbered by the format.
enum GgufType : uint32_t {
  kGgufUint32 = 4,
  kGgufInt32 = 5,
  kGgufFloat32 = 6,
  kGgufBool = 7,
  kGgufString = 8,
  kGgufArray = 9,
  kGgufUint64 = 10,
};

inline std::string GgufText(absl::string_view text) {
  return absl::StrCat(Raw(static_cast<uint64_t>(text.size())), text);
}

// Builds a GGUF file piece by piece; the pieces may be nonsense.
class GgufBuilder {
 public:
  GgufBuilder& Key(absl::string_view key, uint32_t type, absl::string_view raw_value) {
    absl::StrAppend(&keys_, GgufText(key), Raw(type), raw_value);
    ++num_keys_;
    return *this;
  }
  GgufBuilder& Int(absl::string_view key, uint32_t value) {
    return Key(key, kGgufUint32, Raw(value));
  }
  GgufBuilder& Float(absl::string_view key, float value) {
    return Key(key, kGgufFloat32, Raw(value));
  }
  GgufBuilder& String(absl::string_view key, absl::string_view value) {
    return Key(key, kGgufString, GgufText(value));
  }
  // `dims` fastest first.
  GgufBuilder& TensorInfo(absl::string_view name, const std::vector<uint64_t>& dims, uint32_t type,
                          uint64_t offset) {
    absl::StrAppend(&infos_, GgufText(name), Raw(static_cast<uint32_t>(dims.size())));
    for (const uint64_t dim : dims) infos_ += Raw(dim);
    absl::StrAppend(&infos_, Raw(type), Raw(offset));
    ++num_tensors_;
    return *this;
  }
  GgufBuilder& Tensor(const TestTensor& t) {
    const auto cols = static_cast<uint64_t>(t.cols);
    const auto rows = static_cast<uint64_t>(t.rows);
    TensorInfo(t.name, rows == 1 ? std::vector{cols} : std::vector{cols, rows}, GgmlType(t.dtype),
               data_.size());
    data_ += t.bytes;
    data_.resize(static_cast<size_t>(RoundUp(static_cast<int64_t>(data_.size()), 32)));
    return *this;
  }
  GgufBuilder& Data(absl::string_view bytes) {
    absl::StrAppend(&data_, bytes);
    return *this;
  }

  std::string Build() const {
    std::string file =
        absl::StrCat("GGUF", Raw(uint32_t{3}), Raw(num_tensors_), Raw(num_keys_), keys_, infos_);
    if (num_tensors_ > 0) {
      file.resize(static_cast<size_t>(RoundUp(static_cast<int64_t>(file.size()), 32)));
    }
    return file + data_;
  }

  static uint32_t GgmlType(DType dtype) {
    switch (dtype) {
      case DType::kF32:
        return 0;
      case DType::kF16:
        return 1;
      case DType::kQ4_1:
        return 3;
      case DType::kQ8_0:
        return 8;
      case DType::kBf16:
        return 30;
      case DType::kI8:
      case DType::kFp8:
        break;  // GGUF has none of them
    }
    return UINT32_MAX;
  }

 private:
  uint64_t num_keys_ = 0;
  uint64_t num_tensors_ = 0;
  std::string keys_;
  std::string infos_;
  std::string data_;
};

// All values, row by row: reads every byte of the matrix.
inline std::vector<float> Values(const HostMatrix& matrix) {
  std::vector<float> values(static_cast<size_t>(matrix.rows * matrix.cols));
  for (int64_t row = 0; row < matrix.rows; ++row) {
    DequantizeRow(matrix, row, values.data() + row * matrix.cols);
  }
  return values;
}

}  // namespace lckv::testing
