#include "services/common/tracing/span.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error_info.h"
#include "tests/services/common/tracing/recorder.h"

namespace lckv {
namespace {

const TraceContext kCaller = {TraceId("0af7651916cd43dd8448eb211c80319c"),
                              SpanId("b7ad6b7169203331"), true};

TEST(SpanTest, ChildrenLieBelowTheirParents) {
  SpanRecorder recorder;
  {
    const Span call = TracePosition(kCaller, &recorder)
                          .StartCall(SpanKind::kServer, "lckv.v1.Worker", "Generate");
    Span child = call.position().StartSpan("restore");
    child.Set("count", uint32_t{7});
    child.Set("share", 0.5f);
    child.Set("hot", true);
    child.Set("name", "literal");
  }
  const std::vector<SpanData> spans = recorder.spans();
  ASSERT_EQ(spans.size(), 2u);
  const SpanData& child = spans[0];
  const SpanData& call = spans[1];
  EXPECT_EQ(call.name, "lckv.v1.Worker/Generate");
  EXPECT_EQ(call.kind, SpanKind::kServer);
  EXPECT_EQ(call.parent, kCaller.span_id);
  EXPECT_EQ(child.parent, call.context.span_id);
  EXPECT_FALSE(child.context.span_id == call.context.span_id);
  for (const SpanData& span : spans) {
    EXPECT_EQ(span.context.trace_id, kCaller.trace_id);
    EXPECT_TRUE(span.context.sampled);
    EXPECT_LE(span.start, span.end);
    EXPECT_FALSE(span.failed);
  }
  EXPECT_TRUE(HasAttribute(call, "rpc.system", std::string("grpc")));
  EXPECT_TRUE(HasAttribute(call, "rpc.service", std::string("lckv.v1.Worker")));
  EXPECT_TRUE(HasAttribute(call, "rpc.method", std::string("Generate")));
  EXPECT_TRUE(HasAttribute(child, "count", int64_t{7}));
  EXPECT_TRUE(HasAttribute(child, "share", 0.5));
  EXPECT_TRUE(HasAttribute(child, "hot", true));
  EXPECT_TRUE(HasAttribute(child, "name", std::string("literal")));
}

TEST(SpanTest, NotRecordingPassesTheCallerOn) {
  Span span = TracePosition(kCaller, nullptr).StartSpan("restore");
  EXPECT_FALSE(span.recording());
  EXPECT_EQ(span.context().span_id, kCaller.span_id);
  span.Set("count", 7);
  span.SetStatus(absl::InternalError("x"));
  span.End();
  EXPECT_EQ(FormatTraceparent(Span().context()), "");
}

TEST(SpanTest, EndsOnce) {
  SpanRecorder recorder;
  Span span = TracePosition(kCaller, &recorder).StartSpan("a");
  Span moved = std::move(span);
  moved.End();
  moved.End();
  EXPECT_EQ(recorder.spans().size(), 1u);
  moved = TracePosition(kCaller, &recorder).StartSpan("b");
  moved = Span();
  EXPECT_EQ(recorder.spans().size(), 2u) << "what is assigned over has ended";
  Span empty;
  empty = TracePosition(kCaller, &recorder).StartSpan("c");
  empty.End();
  EXPECT_EQ(recorder.spans().size(), 3u);
}

TEST(SpanTest, AnEndBeforeTheStartIsTheStart) {
  SpanRecorder recorder;
  const absl::Time start = absl::Now();
  TracePosition(kCaller, &recorder).StartSpan("a", start).EndAt(start - absl::Seconds(1));
  EXPECT_EQ(recorder.spans()[0].end, start);
}

TEST(SpanTest, StatusOfEachKind) {
  struct Case {
    SpanKind kind;
    absl::StatusCode code;
    bool failed;
  };
  for (const Case& c : {Case{SpanKind::kServer, absl::StatusCode::kInternal, true},
                        Case{SpanKind::kServer, absl::StatusCode::kUnavailable, true},
                        Case{SpanKind::kServer, absl::StatusCode::kAborted, false},
                        Case{SpanKind::kServer, absl::StatusCode::kInvalidArgument, false},
                        Case{SpanKind::kClient, absl::StatusCode::kAborted, true},
                        Case{SpanKind::kClient, absl::StatusCode::kOk, false}}) {
    SpanRecorder recorder;
    TracePosition(kCaller, &recorder)
        .StartCall(c.kind, "s", "m")
        .SetStatus(absl::Status(c.code, "session alice"));
    const SpanData span = recorder.spans()[0];
    EXPECT_EQ(span.failed, c.failed);
    EXPECT_TRUE(HasAttribute(span, "rpc.grpc.status_code", static_cast<int64_t>(c.code)));
    EXPECT_EQ(FindAttribute(span, "error.type") != nullptr, c.code != absl::StatusCode::kOk);
  }
}

TEST(SpanTest, AnErrorSaysItsReasonAndNotItsMessage) {
  SpanRecorder recorder;
  TracePosition(kCaller, &recorder)
      .StartSpan("acquire")
      .SetStatus(WithErrorInfo(absl::AbortedError("session alice is held"),
                               {kReasonLeaseHeld, {{"holder", "w"}}}));
  const SpanData span = recorder.spans()[0];
  EXPECT_TRUE(span.failed);
  EXPECT_TRUE(HasAttribute(span, "error.type", std::string("ABORTED")));
  EXPECT_TRUE(HasAttribute(span, "lckv.error.reason", std::string("LEASE_HELD")));
  for (const SpanData::Attribute& attribute : span.attributes) {
    if (const auto* text = std::get_if<std::string>(&attribute.value)) {
      EXPECT_THAT(*text, ::testing::Not(::testing::HasSubstr("alice")));
    }
  }
}

}  // namespace
}  // namespace lckv
