#include "services/common/listen_address.h"

#include <gtest/gtest.h>

#include "tests/testing/status_matchers.h"

namespace lckv {
namespace {

using testing::StatusIs;

TEST(ListenAddressTest, ReadsHostAndPort) {
  ASSERT_OK_AND_ASSIGN(const ListenAddress name, ParseListenAddress("worker-1.local:8081"));
  EXPECT_EQ(name.host, "worker-1.local");
  EXPECT_EQ(name.port, 8081);
  ASSERT_OK_AND_ASSIGN(const ListenAddress v6, ParseListenAddress("[::1]:0"));
  EXPECT_EQ(v6.host, "[::1]");
  EXPECT_EQ(v6.port, 0);
}

TEST(ListenAddressTest, RefusesEverythingElse) {
  for (const char* text :
       {"", "host", ":80", "host:", "host:x", "host:65536", "host:-1", "host:+80", "host: 80",
        "host:80 ", "::1:80", "[]:80", "[host]:80", "[::1:80"}) {
    EXPECT_THAT(ParseListenAddress(text), StatusIs(absl::StatusCode::kInvalidArgument)) << text;
  }
}

}  // namespace
}  // namespace lckv
