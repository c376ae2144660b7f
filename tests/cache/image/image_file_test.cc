#include "cache/image/image_file.h"

#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "tests/testing/cache_fixtures.h"
#include "tests/testing/status_matchers.h"

static int file_syncs = 0;

// In place of the C library's: does the same, and counts.
extern "C" int fsync(int fd) {
  ++file_syncs;
  return static_cast<int>(syscall(SYS_fsync, fd));
}

namespace lckv {
namespace {

using ::lckv::testing::kTestPageBytes;
using ::lckv::testing::MakeManifest;
using ::lckv::testing::PageBytes;
using ::lckv::testing::StatusIs;
using ::testing::HasSubstr;

absl::Status FillPage(int position, absl::Span<char> page) {
  PageBytes(100 + static_cast<uint32_t>(position)).copy(page.data(), page.size());
  return absl::OkStatus();
}

class ImageFileTest : public ::testing::Test {
 protected:
  void WriteImage(uint32_t tokens, uint32_t kv_tokens) {
    ASSERT_OK(WriteImageFile(path_, MakeManifest("s", tokens, kv_tokens), FillPage));
  }

  std::string ReadBytes() const {
    std::ifstream file(path_, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  }
  void WriteBytes(const std::string& bytes) const {
    std::ofstream(path_, std::ios::binary | std::ios::trunc) << bytes;
  }

  // OK if the file opens and all its pages are as the manifest says.
  absl::Status ReadEverything() const {
    LCKV_ASSIGN_OR_RETURN(const std::unique_ptr<ImageFile> image, ImageFile::Open(path_));
    std::string page(kTestPageBytes, '\0');
    for (int i = 0; i < image->manifest().pages_size(); ++i) {
      LCKV_RETURN_IF_ERROR(image->ReadPage(i, absl::MakeSpan(page)));
    }
    return absl::OkStatus();
  }

  testing::TempDir dir_;
  const std::string path_ = dir_.path() + "/session.lckv";
};

TEST_F(ImageFileTest, ComesBackAsItWas) {
  WriteImage(40, 40);
  EXPECT_EQ(std::filesystem::file_size(path_), 4096 + 3 * kTestPageBytes);
  ASSERT_OK_AND_ASSIGN(const std::unique_ptr<ImageFile> image, ImageFile::Open(path_));
  EXPECT_EQ(image->manifest().SerializeAsString(), MakeManifest("s", 40, 40).SerializeAsString());
  for (int i = 0; i < 3; ++i) {
    std::string page(kTestPageBytes, '\0');
    ASSERT_OK(image->ReadPage(i, absl::MakeSpan(page)));
    EXPECT_EQ(page, PageBytes(100 + static_cast<uint32_t>(i)));
  }
}

TEST_F(ImageFileTest, ASessionWithoutPagesIsItsManifest) {
  WriteImage(2000, 0);
  EXPECT_EQ(std::filesystem::file_size(path_) % 4096, 0u);
  EXPECT_OK(ReadEverything());
}

TEST_F(ImageFileTest, EveryTruncationIsNoticed) {
  WriteImage(20, 20);
  const std::string bytes = ReadBytes();
  WriteBytes(bytes + "x");
  EXPECT_THAT(ReadEverything(), StatusIs(absl::StatusCode::kDataLoss));
  for (size_t size = bytes.size(); size > 0;) {
    size -= std::min<size_t>(size, size > 5000 ? 509 : 1);
    std::filesystem::resize_file(path_, size);
    EXPECT_THAT(ReadEverything(), StatusIs(absl::StatusCode::kDataLoss)) << size;
  }
}

TEST_F(ImageFileTest, EveryFlippedBitIsNoticed) {
  WriteImage(20, 17);
  const std::string bytes = ReadBytes();
  std::fstream file(path_, std::ios::binary | std::ios::in | std::ios::out);
  const auto put = [&file](size_t offset, int byte) {
    file.seekp(static_cast<std::streamoff>(offset)).put(static_cast<char>(byte)).flush();
  };
  // All bits of the manifest, then some of padding and pages.
  for (size_t byte = 0; byte < bytes.size(); byte += byte < 400 ? 1 : 61) {
    for (int bit = 0; bit < 8; bit += byte < 400 ? 1 : 3) {
      put(byte, bytes[byte] ^ (1 << bit));
      EXPECT_THAT(ReadEverything(), StatusIs(absl::StatusCode::kDataLoss)) << byte << "." << bit;
      put(byte, bytes[byte]);
    }
  }
  EXPECT_OK(ReadEverything());
}

TEST_F(ImageFileTest, ErrorsNameTheFile) {
  EXPECT_THAT(ImageFile::Open(path_), StatusIs(absl::StatusCode::kNotFound, HasSubstr(path_)));
  WriteBytes("something else entirely");
  EXPECT_THAT(ImageFile::Open(path_), StatusIs(absl::StatusCode::kDataLoss, HasSubstr(path_)));
}

TEST_F(ImageFileTest, AFailedWriteLeavesTheOldFile) {
  WriteImage(20, 17);
  const std::string before = ReadBytes();
  const auto wrong_bytes = [](int, absl::Span<char> page) {
    std::fill(page.begin(), page.end(), 'x');
    return absl::OkStatus();
  };
  EXPECT_THAT(WriteImageFile(path_, MakeManifest("s", 40, 40), wrong_bytes),
              StatusIs(absl::StatusCode::kDataLoss));
  EXPECT_EQ(ReadBytes(), before);
  const std::filesystem::directory_iterator files(dir_.path());
  EXPECT_EQ(std::distance(begin(files), end(files)), 1);
}

TEST_F(ImageFileTest, AWrittenFileIsOnDisk) {
  const int before = file_syncs;
  WriteImage(20, 17);
  EXPECT_EQ(file_syncs, before + 1);
}

}  // namespace
}  // namespace lckv
