#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/model/mapped_file.h"
#include "engine/tensor/host_matrix.h"

namespace lckv {

// A safetensors file, read through a mapping: 8 bytes with the header's length (little-endian), a
// JSON header that names each tensor's dtype, shape and byte range, then the data. Accepted only
// when the ranges cover the data without gap or overlap and fit dtype x shape. A copy shares the
// mapping. Immutable after Open. Format: the safetensors project's README.
class SafetensorsFile {
 public:
  // As MappedFile::Open; INVALID_ARGUMENT, naming file and tensor, for a malformed file.
  static absl::StatusOr<SafetensorsFile> Open(const std::string& path);

  // A 1- or 2-dimensional tensor ([rows][cols]; a vector is one row) by name. NOT_FOUND;
  // UNIMPLEMENTED for dtypes other than F32, F16 and BF16 and for more dimensions. Points into the
  // mapping: lives as long as this object or a copy of it.
  absl::StatusOr<HostMatrix> Tensor(absl::string_view name) const;
  bool HasTensor(absl::string_view name) const;
  const std::string& path() const { return file_->path(); }
  const std::shared_ptr<const MappedFile>& file() const { return file_; }

  // One header entry. Offsets count from the start of the data.
  struct Entry {
    std::string dtype;
    std::vector<int64_t> shape;
    int64_t begin_bytes = 0;
    int64_t end_bytes = 0;
  };
  using Entries = std::map<std::string, Entry, std::less<>>;

 private:
  SafetensorsFile() = default;
  absl::Status Read();

  std::shared_ptr<const MappedFile> file_;
  int64_t data_offset_ = 0;
  Entries entries_;
};

}  // namespace lckv
