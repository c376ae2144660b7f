#include "engine/model/weights_digest.h"

#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>

#include "tests/engine/model/test_files.h"
#include "tests/testing/status_matchers.h"

namespace lckv {
namespace {

using testing::TempDir;

using Files = std::vector<std::shared_ptr<const MappedFile>>;

std::shared_ptr<const MappedFile> Map(const std::string& path) {
  absl::StatusOr<MappedFile> file = MappedFile::Open(path);
  EXPECT_OK(file);
  return std::make_shared<const MappedFile>(*std::move(file));
}

std::vector<std::string> EntriesOf(const std::string& dir) {
  std::vector<std::string> paths;
  for (const auto& entry : std::filesystem::directory_iterator(dir)) {
    paths.push_back(entry.path().string());
  }
  return paths;
}

// Both digests were computed by a separate program from the definition in the header.
TEST(WeightsDigestTest, IsTheDocumentedHash) {
  TempDir dir;
  const Files files = {Map(dir.Write("a", "hello")), Map(dir.Write("b", "world"))};
  EXPECT_EQ(ToHex(DigestWeights(files, "")),
            "421007ffff27661c358dd4cd150b83098e7ce644765d277725174740b44c951f");
  EXPECT_NE(DigestWeights({files[1], files[0]}, ""), DigestWeights(files, ""));
}

TEST(WeightsDigestTest, DoesNotDependOnThreads) {
  TempDir dir;
  std::string bytes((32 << 20) + 5, '\0');  // three chunks
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i % 251);
  const auto file = Map(dir.Write("a", bytes));
  const Sha256Digest digest = DigestFile(*file, 1);
  EXPECT_EQ(ToHex(digest), "6031160284676ae286240cf24f416803b8f42197f614a274e46b28be34e9cad5");
  EXPECT_EQ(DigestFile(*file, 2), digest);
  EXPECT_EQ(DigestFile(*file, 7), digest);
}

TEST(WeightsDigestTest, RemembersByIdentity) {
  TempDir dir, other, cache;
  const std::string path = dir.Write("a", "hello");
  const auto file = Map(path);
  const Sha256Digest digest = DigestWeights({file}, cache.path());
  ASSERT_EQ(EntriesOf(cache.path()).size(), 1u);
  const std::string entry_path = EntriesOf(cache.path())[0];
  const std::string entry = testing::ReadFile(entry_path);

  // The file's content may not change under a mapping in real life; here it shows that nobody
  // looked at it.
  testing::BitFlipper flipper(path, "hello");
  flipper.Flip(0, 0);
  std::filesystem::last_write_time(path, std::filesystem::file_time_type{});  // clocks are coarse
  EXPECT_EQ(DigestWeights({file}, cache.path()), digest);
  EXPECT_NE(DigestWeights({file}, ""), digest);
  // Opened again it has another identity, and the new entry takes the old one's place.
  EXPECT_NE(DigestWeights({Map(path)}, cache.path()), digest);
  EXPECT_EQ(EntriesOf(cache.path()), std::vector<std::string>{entry_path});
  EXPECT_NE(testing::ReadFile(entry_path), entry);
}

TEST(WeightsDigestTest, IgnoresDamagedEntries) {
  TempDir dir, cache;
  const auto file = Map(dir.Write("a", "hello"));
  const Sha256Digest digest = DigestWeights({file}, cache.path());
  const std::string entry_path = EntriesOf(cache.path())[0];
  const std::string entry = testing::ReadFile(entry_path);
  const auto write = [&](const std::string& bytes) {
    std::ofstream(entry_path, std::ios::binary | std::ios::trunc) << bytes;
  };
  for (size_t size = 0; size < entry.size(); ++size) {
    write(entry.substr(0, size));
    ASSERT_EQ(DigestWeights({file}, cache.path()), digest) << size;
    ASSERT_EQ(testing::ReadFile(entry_path), entry) << "not repaired";
  }
  for (size_t byte = 0; byte < entry.size(); ++byte) {
    std::string flipped = entry;
    flipped[byte] = static_cast<char>(flipped[byte] ^ 1);
    write(flipped);
    ASSERT_EQ(DigestWeights({file}, cache.path()), digest) << byte;
  }
  write(entry + std::string(1000, 'x'));
  EXPECT_EQ(DigestWeights({file}, cache.path()), digest);
}

TEST(WeightsDigestTest, WorksWithoutACacheDirectory) {
  TempDir dir;
  const auto file = Map(dir.Write("a", "hello"));
  const Sha256Digest digest = DigestWeights({file}, "");
  // A file where the directory would be cannot be written to, not even by root.
  EXPECT_EQ(DigestWeights({file}, dir.File("a")), digest);
  EXPECT_EQ(DigestWeights({file}, dir.File("a/sub")), digest);
  // Folders are made where they are missing.
  EXPECT_EQ(DigestWeights({file}, dir.File("x/y/z")), digest);
  EXPECT_EQ(EntriesOf(dir.File("x/y/z")).size(), 1u);
}

TEST(WeightsDigestTest, FindsTheCacheDirectory) {
  const char* home = getenv("HOME");
  const std::string old_home = home != nullptr ? home : "";
  setenv("XDG_CACHE_HOME", "/xdg", 1);
  EXPECT_EQ(DefaultDigestCacheDir(), "/xdg/lckv");
  setenv("XDG_CACHE_HOME", "relative", 1);
  setenv("HOME", "/home/someone", 1);
  EXPECT_EQ(DefaultDigestCacheDir(), "/home/someone/.cache/lckv");
  unsetenv("XDG_CACHE_HOME");
  unsetenv("HOME");
  EXPECT_EQ(DefaultDigestCacheDir(), "");
  if (home != nullptr) setenv("HOME", old_home.c_str(), 1);
}

}  // namespace
}  // namespace lckv
