#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/model/mapped_file.h"
#include "engine/tensor/host_matrix.h"

namespace lckv {

// A GGUF version 3 file (little-endian), read through a mapping: metadata copied out, tensors left
// in place. Every count, offset and product is checked against the bytes that remain before it is
// used. A copy shares the mapping. Immutable after Open. Format: the GGUF specification of the ggml
// project.
class GgufFile {
 public:
  using Strings = std::vector<std::string>;
  using Ints = std::vector<int64_t>;  // any integer or bool array
  using Floats = std::vector<double>;
  using Value = std::variant<int64_t, double, bool, std::string, Strings, Ints, Floats>;

  // As MappedFile::Open; INVALID_ARGUMENT, naming file and key or tensor, for a malformed file;
  // UNIMPLEMENTED for another version than 3 and for arrays of arrays.
  static absl::StatusOr<GgufFile> Open(const std::string& path);

  // The value of a metadata key; null when absent.
  const Value* Find(absl::string_view key) const;
  // Typed access: NOT_FOUND when absent, INVALID_ARGUMENT when of another type; the message names
  // file and key.
  absl::StatusOr<int64_t> GetInt(absl::string_view key) const;
  absl::StatusOr<double> GetFloat(absl::string_view key) const;  // integers too
  absl::StatusOr<bool> GetBool(absl::string_view key) const;
  absl::StatusOr<std::string> GetString(absl::string_view key) const;
  absl::StatusOr<Strings> GetStrings(absl::string_view key) const;
  absl::StatusOr<Ints> GetInts(absl::string_view key) const;
  absl::StatusOr<Floats> GetFloats(absl::string_view key) const;

  // A 1- or 2-dimensional tensor ([rows][cols]; a vector is one row) by name. NOT_FOUND;
  // UNIMPLEMENTED for a number format that is not in DType and for more dimensions. Points into the
  // mapping: lives as long as this object or a copy of it.
  absl::StatusOr<HostMatrix> Tensor(absl::string_view name) const;
  bool HasTensor(absl::string_view name) const;
  std::vector<std::string> TensorNames() const;
  const std::string& path() const { return file_->path(); }
  const std::shared_ptr<const MappedFile>& file() const { return file_; }

 private:
  struct TensorEntry {
    std::vector<int64_t> dims;  // fastest first, as in the file
    uint32_t type = 0;
    int64_t offset_bytes = 0;  // from the file's start
    int64_t size_bytes = 0;    // 0 for formats that are not in DType
  };
  class Reader;

  GgufFile() = default;

  std::shared_ptr<const MappedFile> file_;
  std::map<std::string, Value, std::less<>> values_;
  std::map<std::string, TensorEntry, std::less<>> tensors_;
};

}  // namespace lckv
