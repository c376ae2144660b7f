#include "services/common/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>

#include "services/common/listen_address.h"
#include "services/common/metrics_server.h"
#include "tests/testing/status_matchers.h"

namespace lckv {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using testing::StatusIs;

// The whole answer to a plain HTTP request.
std::string HttpGet(const std::string& address, const std::string& path) {
  const auto target = ParseListenAddress(address);
  EXPECT_OK(target);
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  addrinfo* found = nullptr;
  EXPECT_EQ(
      getaddrinfo(target->host.c_str(), std::to_string(target->port).c_str(), nullptr, &found), 0);
  EXPECT_EQ(connect(fd, found->ai_addr, found->ai_addrlen), 0);
  freeaddrinfo(found);
  const std::string request = "GET " + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
  EXPECT_EQ(write(fd, request.data(), request.size()), static_cast<ssize_t>(request.size()));
  std::string answer;
  char buffer[4096];
  for (ssize_t n = 0; (n = read(fd, buffer, sizeof(buffer))) > 0;) answer.append(buffer, n);
  close(fd);
  return answer;
}

TEST(MetricsTest, ServesWhatWasRegisteredAndNothingElse) {
  MetricsRegistry registry;
  registry.AddCounter("lckv_test_things_total", "Things seen.", {{"kind", "a"}}).Increment(3);
  registry.AddGauge("lckv_test_level", "Level.").Set(7);
  registry.AddHistogram("lckv_test_seconds", "Waits.", {0.1, 1}).Observe(0.5);
  ASSERT_OK_AND_ASSIGN(auto server, MetricsServer::Start("127.0.0.1:0", &registry));

  const std::string answer = HttpGet(server->address(), "/metrics");
  EXPECT_THAT(answer, HasSubstr("200 OK"));
  EXPECT_THAT(answer, HasSubstr("# HELP lckv_test_things_total Things seen."));
  EXPECT_THAT(answer, HasSubstr("lckv_test_things_total{kind=\"a\"} 3"));
  EXPECT_THAT(answer, HasSubstr("lckv_test_level 7"));
  EXPECT_THAT(answer, HasSubstr("lckv_test_seconds_bucket{le=\"1\"} 1"));
  EXPECT_THAT(answer, Not(HasSubstr("exposer_")));
  EXPECT_THAT(HttpGet(server->address(), "/other"), HasSubstr("404"));
}

TEST(MetricsTest, TheSameFamilyTwiceIsOneFamily) {
  MetricsRegistry registry;
  registry.AddCounter("lckv_test_total", "Things.", {{"kind", "a"}}).Increment();
  registry.AddCounter("lckv_test_total", "Things.", {{"kind", "b"}}).Increment();
  const std::string text = registry.Serialize();
  EXPECT_EQ(text.find("# HELP"), text.rfind("# HELP"));
}

TEST(MetricsServerTest, SaysWhyItCannotStart) {
  MetricsRegistry registry;
  ASSERT_OK_AND_ASSIGN(auto first, MetricsServer::Start("127.0.0.1:0", &registry));
  EXPECT_THAT(MetricsServer::Start(first->address(), &registry),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr(first->address())));
  EXPECT_THAT(MetricsServer::Start("nowhere", &registry),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(BucketsTest, Ascend) {
  for (const auto& buckets : {TimeToFirstTokenBuckets(), InterTokenBuckets(), DurationBuckets()}) {
    EXPECT_TRUE(std::is_sorted(buckets.begin(), buckets.end()));
  }
}

}  // namespace
}  // namespace lckv
