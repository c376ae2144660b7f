#include "engine/model/weights_digest.h"

#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <optional>
#include <system_error>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/crc32c.h"
#include "base/units.h"
#include "engine/tensor/parallel_for.h"

namespace lckv {
namespace {

constexpr int64_t kChunkBytes = int64_t{16} << 20;
constexpr size_t kHexDigits = 64;

absl::string_view AsBytes(const Sha256Digest& digest) {
  return absl::string_view(reinterpret_cast<const char*>(digest.data()), digest.size());
}

// What an entry must start with to be about this state of this file.
std::string EntryPrefix(const FileIdentity& identity) {
  return absl::StrCat("lckv-digest 1 ", identity.device, " ", identity.inode, " ",
                      identity.size_bytes, " ", identity.modified_ns, " ", identity.changed_ns,
                      " ");
}

std::string WithChecksum(const std::string& line) {
  return absl::StrCat(line, " ", absl::Hex(Crc32c(line.data(), line.size()), absl::kZeroPad8),
                      "\n");
}

std::string EntryPath(const std::string& cache_dir, const FileIdentity& identity) {
  return absl::StrCat(cache_dir, "/", identity.device, "-", identity.inode, ".digest");
}

std::optional<Sha256Digest> FindEntry(const std::string& cache_dir, const FileIdentity& identity) {
  std::ifstream in(EntryPath(cache_dir, identity), std::ios::binary);
  std::string text(512, '\0');  // more than any entry has
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(in.gcount()));

  absl::string_view hex = text;
  if (!absl::ConsumePrefix(&hex, EntryPrefix(identity))) return std::nullopt;
  hex = hex.substr(0, kHexDigits);
  const std::string digest = absl::HexStringToBytes(hex);
  // Compared as a whole, which also refuses digits that are not hexadecimal and anything missing or
  // added.
  Sha256Digest found{};
  if (digest.size() != found.size()) return std::nullopt;
  std::copy(digest.begin(), digest.end(), found.begin());
  if (text != WithChecksum(absl::StrCat(EntryPrefix(identity), ToHex(found)))) return std::nullopt;
  return found;
}

// Failures are silent: the cache is only about time.
void StoreEntry(const std::string& cache_dir, const FileIdentity& identity,
                const Sha256Digest& digest) {
  std::error_code error;
  std::filesystem::create_directories(cache_dir, error);
  if (error) return;
  std::string temporary = absl::StrCat(cache_dir, "/new-XXXXXX");
  const int fd = mkstemp(temporary.data());
  if (fd < 0) return;
  const std::string entry = WithChecksum(absl::StrCat(EntryPrefix(identity), ToHex(digest)));
  const bool written = write(fd, entry.data(), entry.size()) == static_cast<ssize_t>(entry.size());
  const bool closed = close(fd) == 0;
  // Readers see the old entry or the whole new one.
  const std::string path = EntryPath(cache_dir, identity);
  if (!written || !closed || std::rename(temporary.c_str(), path.c_str()) != 0) {
    unlink(temporary.c_str());
  }
}

}  // namespace

Sha256Digest DigestFile(const MappedFile& file, int threads) {
  const int64_t chunks = CeilDiv(file.size_bytes(), kChunkBytes);
  std::vector<Sha256Digest> digests(static_cast<size_t>(chunks));
  ParallelFor(chunks, threads, [&](int64_t chunk) {
    const int64_t begin = chunk * kChunkBytes;
    const int64_t size = std::min(kChunkBytes, file.size_bytes() - begin);
    digests[static_cast<size_t>(chunk)] =
        Sha256Of(file.view().substr(static_cast<size_t>(begin), static_cast<size_t>(size)));
  });
  Sha256 hash;
  hash.Update(absl::StrCat("lckv file 1\n", file.size_bytes(), "\n"));
  for (const Sha256Digest& digest : digests) hash.Update(AsBytes(digest));
  return hash.Finish();
}

Sha256Digest DigestWeights(const std::vector<std::shared_ptr<const MappedFile>>& files,
                           const std::string& cache_dir) {
  Sha256 hash;
  hash.Update(absl::StrCat("lckv weights 1\n", files.size(), "\n"));
  for (const auto& file : files) {
    std::optional<Sha256Digest> digest;
    if (!cache_dir.empty()) digest = FindEntry(cache_dir, file->identity());
    if (!digest.has_value()) {
      digest = DigestFile(*file, LoadThreads());
      if (!cache_dir.empty()) StoreEntry(cache_dir, file->identity(), *digest);
    }
    hash.Update(AsBytes(*digest));
  }
  return hash.Finish();
}

std::string DefaultDigestCacheDir() {
  const char* xdg = getenv("XDG_CACHE_HOME");
  if (xdg != nullptr && xdg[0] == '/') return absl::StrCat(xdg, "/lckv");
  const char* home = getenv("HOME");
  if (home != nullptr && home[0] == '/') return absl::StrCat(home, "/.cache/lckv");
  return "";
}

}  // namespace lckv
