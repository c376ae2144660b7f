#include "services/common/tracing/otlp_exporter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/escaping.h"
#include "tests/services/common/tracing/otlp_receiver.h"
#include "tests/testing/status_matchers.h"

namespace lckv {
namespace {

using testing::StatusIs;

SpanData Example() {
  SpanData span;
  span.context = {TraceId("0af7651916cd43dd8448eb211c80319c"), SpanId("b7ad6b7169203331"), true};
  span.parent = SpanId("00f067aa0ba902b7");
  span.name = "restore";
  span.kind = SpanKind::kClient;
  span.start = absl::FromUnixNanos(1'000'000'007);
  span.end = absl::FromUnixNanos(2'000'000'008);
  span.failed = true;
  span.attributes = {{"bool", true},
                     {"int", int64_t{-7}},
                     {"double", 0.5},
                     {"text", std::string("x")},
                     {"list", std::vector<std::string>{"a", "b"}}};
  return span;
}

TEST(OtlpExporterTest, SendsEveryField) {
  OtlpReceiver receiver;
  TracingOptions options = receiver.Options();
  options.headers = {{"X-Key", "secret"}};
  options.resource = {{"service.name", "lckv-test"}};
  const auto exporter = MakeOtlpExporter(options);
  ASSERT_OK(exporter);
  SpanData first = Example();
  first.parent = SpanId();
  first.failed = false;
  const absl::StatusOr<size_t> refused =
      (*exporter)->Export({Example(), first}, absl::Now() + absl::Seconds(30));
  ASSERT_OK(refused);
  EXPECT_EQ(*refused, 0u);
  EXPECT_EQ(receiver.metadata("x-key"), "secret");
  ASSERT_EQ(receiver.requests().size(), 1u);
  const auto resource = receiver.requests()[0].resource_spans(0);
  EXPECT_EQ(resource.resource().attributes(0).key(), "service.name");
  EXPECT_EQ(resource.resource().attributes(0).value().string_value(), "lckv-test");
  const OtlpReceiver::Spans spans = receiver.spans();
  ASSERT_EQ(spans.size(), 2u);
  const auto& span = spans[0];
  EXPECT_EQ(absl::BytesToHexString(span.trace_id()), "0af7651916cd43dd8448eb211c80319c");
  EXPECT_EQ(absl::BytesToHexString(span.span_id()), "b7ad6b7169203331");
  EXPECT_EQ(absl::BytesToHexString(span.parent_span_id()), "00f067aa0ba902b7");
  EXPECT_EQ(spans[1].parent_span_id(), "");
  EXPECT_EQ(span.flags(), 1u);
  EXPECT_EQ(span.name(), "restore");
  EXPECT_EQ(span.kind(), opentelemetry::proto::trace::v1::Span::SPAN_KIND_CLIENT);
  EXPECT_EQ(span.start_time_unix_nano(), 1'000'000'007u);
  EXPECT_EQ(span.end_time_unix_nano(), 2'000'000'008u);
  EXPECT_EQ(span.status().code(), opentelemetry::proto::trace::v1::Status::STATUS_CODE_ERROR);
  EXPECT_EQ(spans[1].status().code(), opentelemetry::proto::trace::v1::Status::STATUS_CODE_UNSET);
  ASSERT_EQ(span.attributes_size(), 5);
  EXPECT_EQ(span.attributes(0).value().bool_value(), true);
  EXPECT_EQ(span.attributes(1).value().int_value(), -7);
  EXPECT_EQ(span.attributes(2).value().double_value(), 0.5);
  EXPECT_EQ(span.attributes(3).value().string_value(), "x");
  EXPECT_EQ(span.attributes(4).value().array_value().values(1).string_value(), "b");
}

TEST(OtlpExporterTest, ReportsWhatWasRefused) {
  OtlpReceiver receiver;
  receiver.SetRejected(1);
  const auto exporter = MakeOtlpExporter(receiver.Options());
  ASSERT_OK(exporter);
  EXPECT_EQ(*(*exporter)->Export({Example(), Example()}, absl::Now() + absl::Seconds(30)), 1u);
}

TEST(OtlpExporterTest, NobodyListens) {
  TracingOptions options;
  options.target = OtlpTarget{"127.0.0.1", 1, false};
  const auto exporter = MakeOtlpExporter(options);
  ASSERT_OK(exporter);
  EXPECT_THAT((*exporter)->Export({Example()}, absl::Now() + absl::Seconds(30)),
              StatusIs(absl::StatusCode::kUnavailable));
}

TEST(OtlpExporterTest, RootsThatCannotBeRead) {
  TracingOptions options;
  options.target = OtlpTarget{"127.0.0.1", 1, true};
  ASSERT_OK(MakeOtlpExporter(options));
  options.ca_file = "/nonexistent/ca.pem";
  EXPECT_THAT(MakeOtlpExporter(options), StatusIs(absl::StatusCode::kInvalidArgument));
}

}  // namespace
}  // namespace lckv
