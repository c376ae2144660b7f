#include "services/common/tracing/tracing_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <map>
#include <string>

#include "services/common/config.h"
#include "tests/testing/status_matchers.h"

namespace lckv {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::Pair;
using testing::StatusIs;

using Variables = std::map<std::string, std::string>;

absl::StatusOr<TracingOptions> Read(const Variables& variables) {
  return TracingFromEnvironment("lckv-test", [&](const char* name) -> std::optional<std::string> {
    const auto found = variables.find(name);
    if (found == variables.end()) return std::nullopt;
    return found->second;
  });
}

Variables On(Variables more) {
  more.emplace("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317");
  return more;
}

std::string ServiceName(const TracingOptions& options) {
  for (const auto& [name, value] : options.resource) {
    if (name == "service.name") return value;
  }
  return "";
}

TEST(OtlpEndpointTest, Legal) {
  struct Case {
    const char* url;
    const char* address;
    bool tls;
  };
  for (const Case& c : {Case{"http://collector:4317", "collector:4317", false},
                        Case{"http://collector", "collector:4317", false},
                        Case{"https://otlp.example.com:443/", "otlp.example.com:443", true},
                        Case{"http://10.0.0.1:1", "10.0.0.1:1", false},
                        Case{"http://[fd00::1]:65535", "[fd00::1]:65535", false},
                        Case{"http://[::1]", "[::1]:4317", false}}) {
    const absl::StatusOr<OtlpTarget> target = ParseOtlpEndpoint(c.url);
    ASSERT_OK(target) << c.url;
    EXPECT_EQ(target->Address(), c.address);
    EXPECT_EQ(target->tls, c.tls);
  }
}

TEST(OtlpEndpointTest, Refused) {
  for (const char* url : {"", "collector:4317", "grpc://collector:4317", "http://", "http://:4317",
                          "http://a:0", "http://a:65536", "http://a:", "http://a:4317/v1/traces",
                          "http://user@a:4317", "http://[::1:4317", "http://[a]:4317",
                          "http://[::1]4317", "http://a b:1", "http://a:+1", "http://a:4317?x"}) {
    EXPECT_THAT(ParseOtlpEndpoint(url), StatusIs(absl::StatusCode::kInvalidArgument)) << url;
  }
}

TEST(NameValuesTest, DecodesAndTrims) {
  const absl::StatusOr<NameValues> values = ParseNameValues(" a=1 ,b = x%2Cy%3d , ,c=");
  ASSERT_OK(values);
  EXPECT_THAT(*values, ElementsAre(Pair("a", "1"), Pair("b", "x,y="), Pair("c", "")));
  for (const char* text : {"a", "=1", "a=%2", "a=%zz", "a=1,b"}) {
    EXPECT_THAT(ParseNameValues(text), StatusIs(absl::StatusCode::kInvalidArgument)) << text;
  }
}

TEST(TracingFromEnvironmentTest, OffWithoutAnEndpoint) {
  for (const Variables& variables :
       {Variables{}, Variables{{"OTEL_EXPORTER_OTLP_ENDPOINT", " "}},
        Variables{{"OTEL_TRACES_SAMPLER", "nonsense"}}, On({{"OTEL_SDK_DISABLED", "True"}}),
        On({{"OTEL_TRACES_EXPORTER", "none"}})}) {
    const absl::StatusOr<TracingOptions> options = Read(variables);
    ASSERT_OK(options);
    EXPECT_FALSE(options->target.has_value());
  }
}

TEST(TracingFromEnvironmentTest, Defaults) {
  const absl::StatusOr<TracingOptions> options = Read(On({}));
  ASSERT_OK(options);
  EXPECT_EQ(options->target->Address(), "collector:4317");
  EXPECT_TRUE(options->sampler.parent_based);
  EXPECT_EQ(options->sampler.ratio, 1);
  EXPECT_EQ(ServiceName(*options), "lckv-test");
  EXPECT_THAT(options->resource, Contains(Pair("telemetry.sdk.language", "cpp")));
  EXPECT_EQ(options->exporting.queue_capacity, 2048u);
}

TEST(TracingFromEnvironmentTest, EveryVariable) {
  const absl::StatusOr<TracingOptions> options =
      Read(On({{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://traces:1"},
               {"OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"},
               {"OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20x"},
               {"OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca.pem"},
               {"OTEL_EXPORTER_OTLP_TIMEOUT", "1500"},
               {"OTEL_RESOURCE_ATTRIBUTES", "service.name=other,deployment.environment.name=prod"},
               {"OTEL_SERVICE_NAME", "edge"},
               {"OTEL_TRACES_SAMPLER", "parentbased_traceidratio"},
               {"OTEL_TRACES_SAMPLER_ARG", "0.125"},
               {"OTEL_BSP_MAX_QUEUE_SIZE", "100"},
               {"OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "200"},
               {"OTEL_BSP_SCHEDULE_DELAY", "250"}}));
  ASSERT_OK(options);
  EXPECT_EQ(options->target->Address(), "traces:1");
  EXPECT_TRUE(options->target->tls);
  EXPECT_THAT(options->headers, ElementsAre(Pair("authorization", "Bearer x")));
  EXPECT_EQ(options->ca_file, "/ca.pem");
  EXPECT_EQ(ServiceName(*options), "edge");
  EXPECT_THAT(options->resource, Contains(Pair("deployment.environment.name", "prod")));
  EXPECT_EQ(options->sampler.ratio, 0.125);
  EXPECT_EQ(options->exporting.queue_capacity, 100u);
  EXPECT_EQ(options->exporting.batch_spans, 100u) << "no larger than the queue";
  EXPECT_EQ(options->exporting.delay, absl::Milliseconds(250));
  EXPECT_EQ(options->exporting.timeout, absl::Milliseconds(1500));
}

TEST(TracingFromEnvironmentTest, TheNameInTheResourceIsTheSecondChoice) {
  EXPECT_EQ(ServiceName(*Read(On({{"OTEL_RESOURCE_ATTRIBUTES", "service.name=other"}}))), "other");
}

TEST(TracingFromEnvironmentTest, ErrorsNameTheVariable) {
  for (const auto& [name, value] : Variables{{"OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"},
                                             {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "ftp://a"},
                                             {"OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"},
                                             {"OTEL_EXPORTER_OTLP_HEADERS", "no-equals-sign"},
                                             {"OTEL_RESOURCE_ATTRIBUTES", "a=%"},
                                             {"OTEL_TRACES_SAMPLER", "sometimes"},
                                             {"OTEL_TRACES_EXPORTER", "zipkin"},
                                             {"OTEL_BSP_MAX_QUEUE_SIZE", "0"},
                                             {"OTEL_BSP_SCHEDULE_DELAY", "soon"},
                                             {"OTEL_EXPORTER_OTLP_TIMEOUT", "-1"}}) {
    EXPECT_THAT(Read(On({{name, value}})),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(name)));
  }
}

// gRPC would end the process with the first export.
TEST(TracingFromEnvironmentTest, HeadersThatCannotBeSent) {
  for (const char* headers : {"a=1,my header=1", "a=1,:path=/", "a=1,caf\xc3\xa9=1",
                              "a=1,authorization=Bearer x%0A", "a=1,b=%00", "a=1,b=caf%C3%A9"}) {
    EXPECT_THAT(Read(On({{"OTEL_EXPORTER_OTLP_TRACES_HEADERS", headers}})),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr("OTEL_EXPORTER_OTLP_TRACES_HEADERS: header 2: want a ")))
        << headers;
  }
  EXPECT_OK(Read(On({{"OTEL_EXPORTER_OTLP_HEADERS", "X-Api_Key.2=%20~"}})));
}

TEST(TracingFromEnvironmentTest, OfThisProcess) {
  const char* const name = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
  setenv(name, "https://collector:1", 1);
  TracingOptions options;
  std::vector<ConfigProblem> problems;
  ReadTracing("lckv-test", &options, &problems);
  EXPECT_THAT(problems, IsEmpty());
  ASSERT_TRUE(options.target.has_value());
  EXPECT_EQ(options.target->Address(), "collector:1");
  setenv(name, "collector", 1);
  ReadTracing("lckv-test", &options, &problems);
  unsetenv(name);
  ASSERT_EQ(problems.size(), 1u);
  EXPECT_EQ(problems[0].key, "");
  EXPECT_THAT(problems[0].message, HasSubstr(name));
}

TEST(TracingFromEnvironmentTest, SecretsAreNotInErrors) {
  for (const auto& [name, value] :
       Variables{{"OTEL_EXPORTER_OTLP_HEADERS", "authorization=secret%"},
                 {"OTEL_EXPORTER_OTLP_TRACES_HEADERS", "authorization=secret%0A"},
                 {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://user:secret@a:1"}}) {
    EXPECT_THAT(Read(On({{name, value}})).status().ToString(),
                AllOf(HasSubstr(name), Not(HasSubstr("secret"))));
  }
}

}  // namespace
}  // namespace lckv
