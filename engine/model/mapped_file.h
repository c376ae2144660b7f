#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace lckv {

// What tells one state of a file from another without reading it.
struct FileIdentity {
  uint64_t device = 0;
  uint64_t inode = 0;
  int64_t size_bytes = 0;
  int64_t modified_ns = 0;  // since the epoch
  int64_t changed_ns = 0;   // as modified_ns; unlike it, nobody can set it
};

// A whole regular file mapped read-only. Move-only; unmapped on destruction. Nobody may shorten the
// file while it is mapped: reading past its new end kills the process (SIGBUS). Replace model files
// by rename instead.
class MappedFile {
 public:
  // NOT_FOUND, PERMISSION_DENIED or INVALID_ARGUMENT (a directory, an empty file), with the path in
  // the message.
  static absl::StatusOr<MappedFile> Open(const std::string& path);

  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  const uint8_t* data() const { return data_; }
  int64_t size_bytes() const { return size_bytes_; }
  const std::string& path() const { return path_; }
  // As it was when the file was opened.
  const FileIdentity& identity() const { return identity_; }
  absl::string_view view() const {
    return absl::string_view(reinterpret_cast<const char*>(data_),
                             static_cast<size_t>(size_bytes_));
  }

 private:
  MappedFile() = default;
  const uint8_t* data_ = nullptr;
  int64_t size_bytes_ = 0;
  std::string path_;
  FileIdentity identity_;
};

// The bytes of a file of at most `max_bytes`. Errors as MappedFile::Open; INVALID_ARGUMENT: longer.
absl::StatusOr<std::string> ReadTextFile(const std::string& path, int64_t max_bytes);

}  // namespace lckv
