#include "cache/image/image_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/crc32c.h"
#include "base/status_macros.h"
#include "base/units.h"
#include "cache/image/frame.h"
#include "cache/image/manifest.h"
#include "cache/image/session_record.h"

namespace lckv {
namespace {

absl::Status FileError(absl::string_view path, absl::string_view what) {
  return absl::ErrnoToStatus(errno, absl::StrCat(path, ": ", what));
}

absl::Status ReadFully(int fd, uint64_t offset, absl::Span<char> out) {
  size_t done = 0;
  while (done < out.size()) {
    const ssize_t n =
        pread(fd, out.data() + done, out.size() - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return absl::ErrnoToStatus(errno, "read");
    if (n == 0) return absl::DataLossError("file cut off");
    done += static_cast<size_t>(n);
  }
  return absl::OkStatus();
}

absl::Status WriteFully(int fd, absl::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return absl::ErrnoToStatus(errno, "write");
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return absl::OkStatus();
}

uint64_t PagesOffset(uint64_t frame_bytes) {
  return static_cast<uint64_t>(
      RoundUp(static_cast<int64_t>(frame_bytes), static_cast<int64_t>(kPageAlignmentBytes)));
}

absl::Status CheckCrc(const v1::PageEntry& entry, absl::Span<const char> page) {
  if (Crc32c(page.data(), page.size()) == entry.crc32c()) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat("page ", entry.index(), ": checksum differs"));
}

absl::Status WriteContents(int fd, const v1::Manifest& manifest, const PageSource& source) {
  std::string head = EncodeFrame(kImageMagic, manifest.SerializeAsString());
  head.resize(PagesOffset(head.size()), '\0');
  LCKV_RETURN_IF_ERROR(WriteFully(fd, head));
  std::string page(manifest.pages().empty() ? 0 : manifest.page_bytes(), '\0');
  for (int i = 0; i < manifest.pages_size(); ++i) {
    LCKV_RETURN_IF_ERROR(source(i, absl::MakeSpan(page)));
    LCKV_RETURN_IF_ERROR(CheckCrc(manifest.pages(i), page));
    LCKV_RETURN_IF_ERROR(WriteFully(fd, page));
  }
  return fsync(fd) == 0 ? absl::OkStatus() : absl::ErrnoToStatus(errno, "fsync");
}

}  // namespace

absl::StatusOr<std::unique_ptr<ImageFile>> ImageFile::Open(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return FileError(path, "open");
  std::unique_ptr<ImageFile> file(new ImageFile(path, fd));
  LCKV_RETURN_IF_ERROR(Annotate(file->Load(), path));
  return file;
}

ImageFile::~ImageFile() { close(fd_); }

absl::Status ImageFile::Load() {
  struct stat info = {};
  if (fstat(fd_, &info) != 0) return absl::ErrnoToStatus(errno, "stat");
  const auto file_bytes = static_cast<uint64_t>(info.st_size);
  std::string head(std::min<uint64_t>(kFrameHeaderBytes, file_bytes), '\0');
  LCKV_RETURN_IF_ERROR(ReadFully(fd_, 0, absl::MakeSpan(head)));
  LCKV_ASSIGN_OR_RETURN(const uint64_t frame_bytes, FrameBytes(kImageMagic, head));
  pages_offset_bytes_ = PagesOffset(frame_bytes);
  if (pages_offset_bytes_ > file_bytes) return absl::DataLossError("file cut off");
  head.resize(pages_offset_bytes_);
  LCKV_RETURN_IF_ERROR(ReadFully(fd_, 0, absl::MakeSpan(head)));
  LCKV_ASSIGN_OR_RETURN(const absl::string_view payload, DecodeFramePrefix(kImageMagic, head));
  if (head.find_first_not_of('\0', frame_bytes) != std::string::npos) {
    return absl::DataLossError("bytes between manifest and pages are not zero");
  }
  LCKV_ASSIGN_OR_RETURN(manifest_, ParseManifest(payload));
  const uint64_t page_bytes = manifest_.pages().empty() ? 0 : manifest_.page_bytes();
  const uint64_t expected =
      pages_offset_bytes_ + page_bytes * static_cast<uint64_t>(manifest_.pages_size());
  if (file_bytes != expected) {
    return absl::DataLossError(
        absl::StrCat("file has ", file_bytes, " bytes, its manifest says ", expected));
  }
  return absl::OkStatus();
}

absl::Status ImageFile::ReadPage(int position, absl::Span<char> page) const {
  LCKV_CHECK(position >= 0 && position < manifest_.pages_size());
  LCKV_CHECK(page.size() == manifest_.page_bytes());
  const uint64_t offset = pages_offset_bytes_ + page.size() * static_cast<uint64_t>(position);
  LCKV_RETURN_IF_ERROR(Annotate(ReadFully(fd_, offset, page), path_));
  return Annotate(CheckCrc(manifest_.pages(position), page), path_);
}

absl::Status WriteImageFile(const std::string& path, const v1::Manifest& manifest,
                            const PageSource& source) {
  LCKV_RETURN_IF_ERROR(ValidateManifest(manifest));
  if (manifest.ByteSizeLong() > kMaxFramePayloadBytes) {
    return absl::InvalidArgumentError("manifest: larger than a frame");
  }
  const std::string temporary = absl::StrCat(path, ".tmp");
  const int fd = open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) return FileError(temporary, "create");
  absl::Status status = WriteContents(fd, manifest, source);
  if (close(fd) != 0 && status.ok()) status = absl::ErrnoToStatus(errno, "close");
  if (status.ok() && std::rename(temporary.c_str(), path.c_str()) != 0) {
    status = absl::ErrnoToStatus(errno, "rename");
  }
  if (!status.ok()) unlink(temporary.c_str());
  return Annotate(status, path);
}

}  // namespace lckv
