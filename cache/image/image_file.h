#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "lckv/v1/cache.pb.h"

namespace lckv {

// A session image as one file (cache/FORMAT.md): the manifest's frame, zeros up to a multiple of
// 4 KiB, then the pages in order, page_bytes each, and nothing after them.
//
// An open file for reading. Thread-safe. Open reads and checks the manifest and the file's size;
// pages are read and checked one by one.
class ImageFile {
 public:
  // NOT_FOUND and other errors of the file system; DATA_LOSS: cut off or damaged; UNIMPLEMENTED:
  // another format version. Messages name the file.
  static absl::StatusOr<std::unique_ptr<ImageFile>> Open(const std::string& path);
  ~ImageFile();
  ImageFile(const ImageFile&) = delete;
  ImageFile& operator=(const ImageFile&) = delete;

  const v1::Manifest& manifest() const { return manifest_; }
  // Fills `page` and compares it with the manifest's checksum: DATA_LOSS when it differs.
  // REQUIRES: position < manifest().pages_size(), page.size() == manifest().page_bytes().
  absl::Status ReadPage(int position, absl::Span<char> page) const;

 private:
  ImageFile(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}
  absl::Status Load();

  const std::string path_;
  const int fd_;
  v1::Manifest manifest_;
  uint64_t pages_offset_bytes_ = 0;
};

// Fills the span with the bytes of the manifest's page at `position`.
using PageSource = std::function<absl::Status(int position, absl::Span<char> page)>;

// Writes an image to `path` through a temporary file beside it, synced and renamed: there is either
// the old file or the whole new one. DATA_LOSS: a page from `source` differs from its checksum.
absl::Status WriteImageFile(const std::string& path, const v1::Manifest& manifest,
                            const PageSource& source);

}  // namespace lckv
