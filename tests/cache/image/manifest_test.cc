#include "cache/image/manifest.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "tests/testing/cache_fixtures.h"
#include "tests/testing/status_matchers.h"

namespace lckv {
namespace {

using ::lckv::testing::MakeManifest;
using ::lckv::testing::StatusIs;
using ::testing::HasSubstr;

TEST(ValidateManifest, AcceptsWholeSessions) {
  for (uint32_t kv_tokens : {0u, 1u, 15u, 16u, 17u, 40u}) {
    EXPECT_OK(ValidateManifest(MakeManifest("s", 40, kv_tokens))) << kv_tokens;
  }
}

TEST(ValidateManifest, AcceptsASessionWithoutTokens) {
  v1::Manifest manifest;
  manifest.set_format_version(1);
  manifest.set_session_id("s");
  EXPECT_OK(ValidateManifest(manifest));
}

TEST(ValidateManifest, AcceptsTheLargestThereMayBe) {
  v1::Manifest manifest = MakeManifest("s", 40, 40);
  manifest.set_session_id(std::string(128, 's'));
  manifest.set_tenant(std::string(128, 't'));
  manifest.set_last_turn_id(std::string(128, 'x'));
  manifest.set_numerics_class(std::string(256, 'n'));
  manifest.set_passes(64);
  manifest.mutable_encode()->set_passes(64);
  manifest.set_last_turn_begin(30);
  manifest.set_last_turn_input_tokens(10);
  EXPECT_OK(ValidateManifest(manifest));
}

TEST(ValidateManifest, AcceptsAChecksumOfZeroAndPagesWithoutContentId) {
  v1::Manifest manifest = MakeManifest("s", 40, 40);
  manifest.mutable_pages(0)->set_crc32c(0);
  manifest.mutable_pages(1)->clear_content_id();
  EXPECT_OK(ValidateManifest(manifest));
}

struct BadCase {
  const char* field;  // named by the error
  std::function<void(v1::Manifest&)> damage;
};

TEST(ValidateManifest, NamesWhatIsWrong) {
  const std::vector<BadCase> cases = {
      {"session_id", [](auto& m) { m.clear_session_id(); }},
      {"session_id", [](auto& m) { m.set_session_id("a/b"); }},
      {"session_id", [](auto& m) { m.set_session_id(std::string(129, 'a')); }},
      {"tenant", [](auto& m) { m.set_tenant("a b"); }},
      {"tenant", [](auto& m) { m.set_tenant(std::string(129, 'a')); }},
      {"fingerprint", [](auto& m) { m.clear_fingerprint(); }},
      {"fingerprint", [](auto& m) { m.set_fingerprint("short"); }},
      {"numerics_class", [](auto& m) { m.set_numerics_class(std::string(257, 'x')); }},
      {"last_turn_id", [](auto& m) { m.set_last_turn_id(std::string(129, 'x')); }},
      {"passes", [](auto& m) { m.set_passes(65); }},
      {"encode.passes", [](auto& m) { m.mutable_encode()->set_passes(65); }},
      {"encode.mode",
       [](auto& m) { m.mutable_encode()->set_mode(static_cast<v1::EncodePolicy::Mode>(9)); }},
      {"durability", [](auto& m) { m.set_durability(static_cast<v1::Durability>(9)); }},
      {"last_finish_reason",
       [](auto& m) { m.set_last_finish_reason(static_cast<v1::FinishReason>(99)); }},
      {"tokens[3]", [](auto& m) { m.set_tokens(3, -1); }},
      {"segments cover 41 of 40", [](auto& m) { m.mutable_segments(0)->set_tokens(41); }},
      {"segments cover 0 of 40", [](auto& m) { m.clear_segments(); }},
      {"segments[1]", [](auto& m) { m.add_segments(); }},
      {"committed_tokens", [](auto& m) { m.set_committed_tokens(41); }},
      {"kv_tokens over tokens", [](auto& m) { m.set_kv_tokens(41); }},
      {"last turn", [](auto& m) { m.set_last_turn_begin(41); }},
      {"last turn",
       [](auto& m) {
         m.set_committed_tokens(30);
         m.set_last_turn_begin(21);
         m.set_last_turn_input_tokens(10);
       }},
      {"last turn",
       [](auto& m) {
         m.set_last_turn_begin(0xffffffff);
         m.set_last_turn_input_tokens(0xffffffff);
       }},
      {"kv_tokens without pages", [](auto& m) { m.clear_pages(); }},
      {"pages hold 40 tokens, kv_tokens is 39", [](auto& m) { m.set_kv_tokens(39); }},
      {"tokens_per_page", [](auto& m) { m.set_tokens_per_page(0); }},
      {"tokens_per_page", [](auto& m) { m.set_tokens_per_page(24); }},
      {"tokens_per_page", [](auto& m) { m.set_tokens_per_page(8192); }},
      {"page_bytes", [](auto& m) { m.set_page_bytes(0); }},
      {"page_bytes", [](auto& m) { m.set_page_bytes(4097); }},
      {"page_bytes", [](auto& m) { m.set_page_bytes((uint64_t{64} << 20) + 4096); }},
      {"pages[1].index", [](auto& m) { m.mutable_pages(1)->set_index(2); }},
      {"pages[0].tokens", [](auto& m) { m.mutable_pages(0)->set_tokens(15); }},
      {"pages[2].tokens", [](auto& m) { m.mutable_pages(2)->set_tokens(0); }},
      {"pages[2].tokens", [](auto& m) { m.mutable_pages(2)->set_tokens(17); }},
      {"pages[0].content_id", [](auto& m) { m.mutable_pages(0)->set_content_id("short"); }},
      {"pages[2].content_id",
       [](auto& m) { m.mutable_pages(2)->set_content_id(std::string(32, 'c')); }},
  };
  for (const BadCase& bad : cases) {
    v1::Manifest manifest = MakeManifest("s", 40, 40);
    bad.damage(manifest);
    EXPECT_THAT(ValidateManifest(manifest),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(bad.field)))
        << bad.field;
  }
}

TEST(ValidateManifest, BoundsTheTranscript) {
  v1::Manifest manifest = MakeManifest("s", 0, 0);
  manifest.mutable_tokens()->Resize(kMaxSessionTokens, 7);
  manifest.add_segments()->set_tokens(kMaxSessionTokens);
  EXPECT_OK(ValidateManifest(manifest));
  manifest.add_tokens(7);
  manifest.mutable_segments(0)->set_tokens(kMaxSessionTokens + 1);
  EXPECT_THAT(ValidateManifest(manifest), StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(ValidateManifest, RefusesOtherFormatVersions) {
  for (uint32_t version : {0u, 2u, 1000u}) {
    v1::Manifest manifest = MakeManifest("s", 40, 40);
    manifest.set_format_version(version);
    EXPECT_THAT(ValidateManifest(manifest),
                StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("format_version")));
  }
}

TEST(TruncatePages, KeepsTheManifestValid) {
  for (int first : {0, 1, 2, 3, 7}) {
    v1::Manifest manifest = MakeManifest("s", 40, 40);
    TruncatePages(manifest, first);
    EXPECT_EQ(manifest.pages_size(), std::min(first, 3));
    EXPECT_EQ(manifest.kv_tokens(), std::min(first * 16, 40));
    EXPECT_OK(ValidateManifest(manifest));
  }
}

}  // namespace
}  // namespace lckv
