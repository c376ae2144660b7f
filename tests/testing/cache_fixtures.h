#pragma once

// What the tests of the cache share: small sessions, page bytes, a clock with hands, folders that
// go away.

#include <gtest/gtest.h>
#include <stdlib.h>

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/crc32c.h"
#include "lckv/v1/cache.pb.h"

namespace lckv::testing {

inline constexpr uint64_t kTestPageBytes = 8192;
inline constexpr uint32_t kTestTokensPerPage = 16;

class FakeClock final : public Clock {
 public:
  absl::Time Now() override { return absl::FromUnixMillis(now_ms_.load()); }
  void Advance(absl::Duration step) { now_ms_ += absl::ToInt64Milliseconds(step); }

 private:
  std::atomic<int64_t> now_ms_{1'000'000};
};

class TempDir {
 public:
  TempDir() {
    std::string pattern = (std::filesystem::temp_directory_path() / "lckv-test-XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) ADD_FAILURE() << "mkdtemp";
    path_ = pattern;
  }
  ~TempDir() { std::filesystem::remove_all(path_); }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// Bytes that differ from page to page and from seed to seed.
inline std::string PageBytes(uint32_t seed, uint64_t size = kTestPageBytes) {
  std::string bytes(size, '\0');
  uint64_t state = seed * uint64_t{0x9E3779B97F4A7C15} + 1;
  for (char& byte : bytes) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    byte = static_cast<char>(state >> 56);
  }
  return bytes;
}

inline uint32_t CrcOf(absl::string_view bytes) { return Crc32c(bytes.data(), bytes.size()); }

// A valid manifest: `tokens` tokens, all committed, in one segment; pages for the first `kv_tokens`
// whose bytes are PageBytes(page_seed + index).
inline v1::Manifest MakeManifest(absl::string_view session_id, uint32_t tokens, uint32_t kv_tokens,
                                 uint32_t page_seed = 100) {
  v1::Manifest manifest;
  manifest.set_format_version(1);
  manifest.set_fingerprint(std::string(32, 'f'));
  manifest.set_numerics_class("test");
  manifest.set_tenant("tenant");
  manifest.set_session_id(std::string(session_id));
  manifest.set_committed_tokens(tokens);
  for (uint32_t i = 0; i < tokens; ++i) manifest.add_tokens(static_cast<int32_t>(1000 + i));
  if (tokens > 0) manifest.add_segments()->set_tokens(tokens);
  manifest.set_tokens_per_page(kTestTokensPerPage);
  manifest.set_page_bytes(kTestPageBytes);
  manifest.set_kv_tokens(kv_tokens);
  for (uint32_t begin = 0, index = 0; begin < kv_tokens; begin += kTestTokensPerPage, ++index) {
    v1::PageEntry* page = manifest.add_pages();
    page->set_index(index);
    page->set_tokens(std::min(kTestTokensPerPage, kv_tokens - begin));
    page->set_crc32c(CrcOf(PageBytes(page_seed + index)));
    if (page->tokens() == kTestTokensPerPage) page->set_content_id(std::string(32, 'c'));
  }
  return manifest;
}

}  // namespace lckv::testing
