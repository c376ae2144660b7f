#include "cache/store/session_key.h"

#include <gtest/gtest.h>

#include <string>

namespace lckv {
namespace {

TEST(SessionKey, HasTheDocumentedBytes) {
  // The worked example of cache/FORMAT.md.
  v1::PageEntry page;
  page.set_index(3);
  page.set_tokens(64);
  page.set_crc32c(0x1234abcd);
  EXPECT_EQ(PageKeyOf({"t", "ab"}, page),
            std::string("\x01t\x02"
                        "ab\x00\x00\x00\x03\x00\x00\x00\x40\x12\x34\xab\xcd",
                        17));
  EXPECT_EQ(SessionKeyOf({"t", "ab"}),
            "\x01"
            "tab");
}

// The sizes keep names apart that would run into each other.
TEST(SessionKey, NamesDoNotRunTogether) {
  const v1::PageEntry page;
  EXPECT_NE(SessionKeyOf({"t", "ab"}), SessionKeyOf({"ta", "b"}));
  EXPECT_NE(PageKeyOf({"t", "ab"}, page), PageKeyOf({"ta", "b"}, page));
  EXPECT_NE(PagePrefix({"t", "a"}),
            PagePrefix({"t", "ab"}).substr(0, PagePrefix({"t", "a"}).size()));
}

}  // namespace
}  // namespace lckv
