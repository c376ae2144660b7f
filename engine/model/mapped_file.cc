#include "engine/model/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace lckv {

absl::StatusOr<MappedFile> MappedFile::Open(const std::string& path) {
  // Without O_NONBLOCK, opening a FIFO would wait for a writer.
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return absl::ErrnoToStatus(errno, path);

  struct stat info = {};
  absl::Status status;
  void* data = nullptr;
  if (fstat(fd, &info) != 0) {
    status = absl::ErrnoToStatus(errno, path);
  } else if (!S_ISREG(info.st_mode)) {
    status = absl::InvalidArgumentError(absl::StrCat(path, ": not a regular file"));
  } else if (info.st_size == 0) {
    status = absl::InvalidArgumentError(absl::StrCat(path, ": empty file"));
  } else {
    data = mmap(nullptr, static_cast<size_t>(info.st_size), PROT_READ, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED) status = absl::ErrnoToStatus(errno, absl::StrCat(path, ": mmap"));
  }
  close(fd);  // the mapping holds the file
  if (!status.ok()) return status;

  MappedFile file;
  file.data_ = static_cast<const uint8_t*>(data);
  file.size_bytes_ = info.st_size;
  file.path_ = path;
  const auto nanoseconds = [](const timespec& time) {
    return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
  };
  file.identity_ = {info.st_dev, info.st_ino, info.st_size, nanoseconds(info.st_mtim),
                    nanoseconds(info.st_ctim)};
  return file;
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_bytes_(std::exchange(other.size_bytes_, 0)),
      path_(std::move(other.path_)),
      identity_(other.identity_) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_bytes_, other.size_bytes_);
  std::swap(path_, other.path_);
  std::swap(identity_, other.identity_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) munmap(const_cast<uint8_t*>(data_), static_cast<size_t>(size_bytes_));
}

absl::StatusOr<std::string> ReadTextFile(const std::string& path, int64_t max_bytes) {
  LCKV_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::Open(path));
  if (file.size_bytes() > max_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": ", file.size_bytes(), " bytes, more than ", max_bytes));
  }
  return std::string(file.view());
}

}  // namespace lckv
