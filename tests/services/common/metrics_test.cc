#include "services/common/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <iterator>

#include "services/common/listen_address.h"
#include "services/common/metrics_server.h"
#include "tests/testing/status_matchers.h"

namespace lckv {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::StatusIs;

// The whole answer to a plain HTTP request.
std::string HttpGet(const std::string& address, const std::string& path,
                    const std::string& headers = "") {
  const auto target = ParseListenAddress(address);
  EXPECT_OK(target);
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  addrinfo* found = nullptr;
  EXPECT_EQ(
      getaddrinfo(target->host.c_str(), std::to_string(target->port).c_str(), nullptr, &found), 0);
  EXPECT_EQ(connect(fd, found->ai_addr, found->ai_addrlen), 0);
  freeaddrinfo(found);
  const std::string request =
      "GET " + path + " HTTP/1.1\r\nHost: x\r\n" + headers + "Connection: close\r\n\r\n";
  EXPECT_EQ(write(fd, request.data(), request.size()), static_cast<ssize_t>(request.size()));
  std::string answer;
  char buffer[4096];
  for (ssize_t n = 0; (n = read(fd, buffer, sizeof(buffer))) > 0;) answer.append(buffer, n);
  close(fd);
  return answer;
}

constexpr absl::string_view kKinds[] = {"a", "b", "other"};
constexpr double kBuckets[] = {0.1, 1};
constexpr MetricDescriptor kTable[] = {
    {.name = "lckv_test_things_total",
     .type = MetricType::kCounter,
     .unit = "things",
     .help = "Things seen.",
     .when_bad = "Never.",
     .labels = {{{"kind", kKinds}, {"color", kKinds}}}},
    {.name = "lckv_test_level", .unit = "meters", .help = "Level \"now\".", .when_bad = "High."},
    {.name = "lckv_test_seconds",
     .type = MetricType::kHistogram,
     .unit = "seconds",
     .help = "Waits.",
     .when_bad = "Long.",
     .buckets = kBuckets},
};

TEST(MetricsTest, ServesItsTablesFromTheStart) {
  MetricsRegistry registry(kTable);
  registry.counter("lckv_test_things_total", {"a", "b"}).Increment(3);
  registry.gauge("lckv_test_level").Set(7);
  registry.histogram("lckv_test_seconds").Observe(0.5);
  ASSERT_OK_AND_ASSIGN(auto server, MetricsServer::Start("127.0.0.1:0", &registry));

  const std::string answer = HttpGet(server->address(), "/metrics");
  EXPECT_THAT(answer, HasSubstr("200 OK"));
  EXPECT_THAT(answer, HasSubstr("text/plain; version=0.0.4"));
  EXPECT_THAT(answer, HasSubstr("# HELP lckv_test_things_total Things seen."));
  EXPECT_THAT(answer, HasSubstr("lckv_test_things_total{color=\"b\",kind=\"a\"} 3"));
  EXPECT_THAT(answer, HasSubstr("lckv_test_things_total{color=\"a\",kind=\"b\"} 0"));
  EXPECT_THAT(answer, HasSubstr("lckv_test_level 7"));
  EXPECT_THAT(answer, HasSubstr("lckv_test_seconds_bucket{le=\"1\"} 1"));
  EXPECT_THAT(answer, Not(HasSubstr("exposer_")));
  EXPECT_THAT(HttpGet(server->address(), "/other"), HasSubstr("404"));
}

TEST(MetricsTest, SpeaksOpenMetricsToThoseWhoAccept) {
  MetricsRegistry registry(kTable);
  registry.counter("lckv_test_things_total", {"a", "b"}).Increment(3);
  registry.histogram("lckv_test_seconds").Observe(0.25);
  ASSERT_OK_AND_ASSIGN(auto server, MetricsServer::Start("127.0.0.1:0", &registry));

  const std::string answer =
      HttpGet(server->address(), "/metrics",
              "Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n");
  EXPECT_THAT(answer, HasSubstr("application/openmetrics-text; version=1.0.0"));
  EXPECT_THAT(answer, HasSubstr("# TYPE lckv_test_things counter\n"));
  EXPECT_THAT(answer, HasSubstr("lckv_test_things_total{color=\"b\",kind=\"a\"} 3.0\n"));
  EXPECT_THAT(answer, HasSubstr("# HELP lckv_test_level Level \\\"now\\\".\n"));
  EXPECT_THAT(answer, HasSubstr("lckv_test_seconds_bucket{le=\"1.0\"} 1\n"));
  EXPECT_THAT(answer, HasSubstr("lckv_test_seconds_bucket{le=\"+Inf\"} 1\n"));
  EXPECT_THAT(answer, HasSubstr("lckv_test_seconds_count 1\nlckv_test_seconds_sum 0.25\n"));
  EXPECT_THAT(answer, EndsWith("# EOF\n"));
}

TEST(MetricsTest, AnUnknownValueCountsAsOther) {
  MetricsRegistry registry(kTable);
  registry.counter("lckv_test_things_total", {"session-4711", "b"}).Increment();
  const std::string text = registry.Serialize();
  EXPECT_THAT(text, HasSubstr("lckv_test_things_total{color=\"b\",kind=\"other\"} 1"));
  EXPECT_THAT(text, Not(HasSubstr("4711")));
}

TEST(MetricsTest, KnowsItsProcess) {
  MetricsRegistry registry;
  const std::string text = registry.Serialize();
  EXPECT_THAT(text, HasSubstr("process_resident_memory_bytes "));
  EXPECT_THAT(text, Not(HasSubstr("process_resident_memory_bytes 0\n")));
  EXPECT_THAT(text, Not(HasSubstr("process_max_fds 0\n")));
}

TEST(MetricsDeathTest, NothingIsMadeOutsideOfItsTable) {
  MetricsRegistry registry(kTable);
  EXPECT_DEATH(registry.counter("lckv_test_unknown_total"), "");
  EXPECT_DEATH(registry.counter("lckv_test_things_total", {"a"}), "");
  EXPECT_DEATH(registry.gauge("lckv_test_things_total", {"a", "b"}), "");
  EXPECT_DEATH(registry.Add(kTable), "");
  constexpr MetricDescriptor kWrong[] = {{.name = "lckv_test_wrong",
                                          .type = MetricType::kCounter,
                                          .unit = "things",
                                          .help = "No suffix.",
                                          .when_bad = "Always."}};
  EXPECT_DEATH(registry.Add(kWrong), "");
}

TEST(MetricsServerTest, SaysWhyItCannotStart) {
  MetricsRegistry registry;
  ASSERT_OK_AND_ASSIGN(auto first, MetricsServer::Start("127.0.0.1:0", &registry));
  EXPECT_THAT(MetricsServer::Start(first->address(), &registry),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr(first->address())));
  EXPECT_THAT(MetricsServer::Start("nowhere", &registry),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(MetricsServerTest, AnswersProbes) {
  MetricsRegistry registry;
  ASSERT_OK_AND_ASSIGN(auto server, MetricsServer::Start("127.0.0.1:0", &registry));
  EXPECT_THAT(HttpGet(server->address(), "/livez"), HasSubstr("200 OK"));
  EXPECT_THAT(HttpGet(server->address(), "/readyz"), HasSubstr("503 Service Unavailable"));
  bool ready = true;
  server->SetReadiness([&] { return ready; });
  EXPECT_THAT(HttpGet(server->address(), "/readyz"), HasSubstr("200 OK"));
  ready = false;
  EXPECT_THAT(HttpGet(server->address(), "/readyz"), HasSubstr("503 Service Unavailable"));
  server->SetReadiness(nullptr);
  EXPECT_THAT(HttpGet(server->address(), "/readyz"), HasSubstr("503 Service Unavailable"));
  EXPECT_THAT(HttpGet(server->address(), "/livez"), HasSubstr("200 OK"));
}

template <typename Buckets>
void ExpectAscending(const Buckets& buckets) {
  EXPECT_TRUE(std::is_sorted(std::begin(buckets), std::end(buckets)));
}

TEST(BucketsTest, Ascend) {
  ExpectAscending(kTimeToFirstTokenBuckets);
  ExpectAscending(kInterTokenBuckets);
  ExpectAscending(kDurationBuckets);
}

}  // namespace
}  // namespace lckv
