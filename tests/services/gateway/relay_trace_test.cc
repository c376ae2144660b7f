// The spans that a whole gateway exports of turns.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>

#include "absl/strings/escaping.h"
#include "tests/services/common/tracing/otlp_receiver.h"
#include "tests/services/gateway/gateway_fixture.h"

namespace lckv::gateway {
namespace {

using lckv::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using OtlpSpan = opentelemetry::proto::trace::v1::Span;
using OtlpStatus = opentelemetry::proto::trace::v1::Status;

constexpr char kTraceId[] = "0af7651916cd43dd8448eb211c80319c";
constexpr char kCallerSpan[] = "b7ad6b7169203331";

// Of a call that came with metadata "traceparent".
std::string TraceparentOf(const grpc::ServerContext& context) {
  const auto found = context.client_metadata().find("traceparent");
  return found == context.client_metadata().end()
             ? ""
             : std::string(found->second.data(), found->second.size());
}

const opentelemetry::proto::common::v1::AnyValue& Attribute(const OtlpSpan& span,
                                                            const std::string& key) {
  static const opentelemetry::proto::common::v1::AnyValue none;
  for (const auto& pair : span.attributes()) {
    if (pair.key() == key) return pair.value();
  }
  return none;
}

class RelayTraceTest : public GatewayFixture {
 protected:
  RelayTraceTest() { options_.tracing = receiver_.Options(); }

  Turn GenerateInTrace(const v1::GenerateRequest& request, const std::string& flags = "01") {
    grpc::ClientContext context;
    context.AddMetadata("traceparent", absl::StrCat("00-", kTraceId, "-", kCallerSpan, "-", flags));
    return Drain(*stub_->Generate(&context, request));
  }
  // Ends the gateway, which flushes. In the order of their ends.
  OtlpReceiver::Spans Spans() {
    gateway_.reset();
    return receiver_.spans();
  }
  static OtlpReceiver::Spans Named(const OtlpReceiver::Spans& spans, absl::string_view name) {
    OtlpReceiver::Spans found;
    for (const OtlpSpan& span : spans) {
      if (span.name() == name) found.push_back(span);
    }
    return found;
  }

  // Of the next turn: what the worker got goes to `seen`.
  static void TellTraceparent(FakeWorker& worker, std::promise<std::string>* seen) {
    worker.SetScript([seen](grpc::ServerContext& context, const v1::WorkerGenerateRequest& request,
                            FakeWorker::Writer& writer) {
      seen->set_value(TraceparentOf(context));
      return FakeWorker::Finish(request, writer);
    });
  }

  OtlpReceiver receiver_;
};

TEST_F(RelayTraceTest, ATurnIsOneTrace) {
  FakeWorker& worker = AddWorker("a");
  std::promise<std::string> seen;
  TellTraceparent(worker, &seen);
  StartGateway();
  ASSERT_OK(GenerateInTrace(Request("alice", 3)).status);
  const OtlpReceiver::Spans spans = Spans();
  std::vector<std::string> names;
  for (const OtlpSpan& span : spans) {
    names.push_back(span.name());
    EXPECT_EQ(absl::BytesToHexString(span.trace_id()), kTraceId);
    EXPECT_EQ(span.span_id().size(), 8u);
    EXPECT_LE(span.start_time_unix_nano(), span.end_time_unix_nano());
    EXPECT_EQ(span.status().code(), OtlpStatus::STATUS_CODE_UNSET);
  }
  EXPECT_THAT(names, ElementsAre("admission", "route", "lckv.v1.Worker/Generate",
                                 "lckv.v1.Inference/Generate"));
  const OtlpSpan& turn = spans[3];
  const OtlpSpan& call = spans[2];
  EXPECT_EQ(absl::BytesToHexString(turn.parent_span_id()), kCallerSpan);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(spans[i].parent_span_id(), turn.span_id());
  EXPECT_EQ(turn.kind(), OtlpSpan::SPAN_KIND_SERVER);
  EXPECT_EQ(call.kind(), OtlpSpan::SPAN_KIND_CLIENT);
  EXPECT_EQ(seen.get_future().get(),
            absl::StrCat("00-", kTraceId, "-", absl::BytesToHexString(call.span_id()), "-01"));
  EXPECT_EQ(Attribute(turn, "gen_ai.usage.output_tokens").int_value(), 3);
  EXPECT_EQ(Attribute(turn, "gen_ai.operation.name").string_value(), "text_completion");
  EXPECT_EQ(Attribute(spans[1], "lckv.route.reason").string_value(), "fewest_turns");
  EXPECT_EQ(Attribute(spans[1], "lckv.worker.id").string_value(), "a");
  for (const OtlpReceiver::Request& request : receiver_.requests()) {
    EXPECT_THAT(request.SerializeAsString(), Not(HasSubstr("alice")));
    EXPECT_THAT(request.SerializeAsString(), Not(HasSubstr("hello")));
  }
}

TEST_F(RelayTraceTest, AContinuationIsSeen) {
  FakeWorker& first = AddWorker("first");
  AddWorker("second");
  first.AddHot("s");
  first.SetScript([](grpc::ServerContext&, const v1::WorkerGenerateRequest& request,
                     FakeWorker::Writer& writer) {
    FakeWorker::WriteFirst(request, writer);
    FakeWorker::WriteTokens(request, writer, 0, 2);
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, "broken");
  });
  StartGateway();
  ASSERT_OK(GenerateInTrace(Request("s", 5)).status);
  const OtlpReceiver::Spans spans = Spans();
  const OtlpReceiver::Spans calls = Named(spans, "lckv.v1.Worker/Generate");
  ASSERT_EQ(calls.size(), 2u);
  EXPECT_EQ(Attribute(calls[0], "lckv.worker.id").string_value(), "first");
  EXPECT_EQ(calls[0].status().code(), OtlpStatus::STATUS_CODE_ERROR);
  EXPECT_EQ(Attribute(calls[0], "error.type").string_value(), "UNAVAILABLE");
  EXPECT_EQ(Attribute(calls[1], "lckv.worker.id").string_value(), "second");
  EXPECT_EQ(calls[1].status().code(), OtlpStatus::STATUS_CODE_UNSET);
  EXPECT_EQ(Attribute(calls[1], "lckv.continuation").int_value(), 1);
  EXPECT_EQ(Attribute(calls[1], "lckv.resumed_tokens").int_value(), 2);
  EXPECT_EQ(Named(spans, "route").size(), 2u);
  EXPECT_EQ(Attribute(Named(spans, "route")[0], "lckv.route.reason").string_value(), "holder");
  const OtlpSpan turn = Named(spans, "lckv.v1.Inference/Generate").at(0);
  EXPECT_EQ(Attribute(turn, "lckv.continuations").int_value(), 1);
  EXPECT_EQ(Attribute(turn, "gen_ai.usage.output_tokens").int_value(), 5);
}

TEST_F(RelayTraceTest, ErrorsAreTheTurns) {
  AddWorker("a").SetState(v1::LoadReport::STARTING);
  StartGateway();
  EXPECT_FALSE(GenerateInTrace(Request("s", 1)).status.ok());
  EXPECT_FALSE(GenerateInTrace(Request("bad id", 1)).status.ok());
  const OtlpReceiver::Spans spans = Spans();
  EXPECT_EQ(Attribute(Named(spans, "route").at(0), "lckv.error.reason").string_value(),
            kReasonNoWorker);
  const OtlpReceiver::Spans turns = Named(spans, "lckv.v1.Inference/Generate");
  ASSERT_EQ(turns.size(), 2u);
  EXPECT_EQ(turns[0].status().code(), OtlpStatus::STATUS_CODE_ERROR);
  EXPECT_EQ(turns[1].status().code(), OtlpStatus::STATUS_CODE_UNSET) << "the client's doing";
  EXPECT_EQ(Attribute(turns[1], "error.type").string_value(), "INVALID_ARGUMENT");
}

TEST_F(RelayTraceTest, ACancelledTurnsSpansEnd) {
  FakeWorker& worker = AddWorker("a");
  std::promise<void> begun;
  worker.SetScript([&begun](grpc::ServerContext& context, const v1::WorkerGenerateRequest& request,
                            FakeWorker::Writer& writer) {
    FakeWorker::WriteFirst(request, writer);
    begun.set_value();
    FakeWorker::WaitUntilCancelled(context);
    return grpc::Status::CANCELLED;
  });
  StartGateway();
  grpc::ClientContext context;
  const auto reader = stub_->Generate(&context, Request("s", 5));
  begun.get_future().wait();
  context.TryCancel();
  EXPECT_THAT(Drain(*reader).status, StatusIs(absl::StatusCode::kCancelled));
  const OtlpReceiver::Spans spans = Spans();
  for (const char* name : {"lckv.v1.Worker/Generate", "lckv.v1.Inference/Generate"}) {
    const OtlpReceiver::Spans ended = Named(spans, name);
    ASSERT_EQ(ended.size(), 1u) << name;
    EXPECT_EQ(Attribute(ended[0], "error.type").string_value(), "CANCELLED") << name;
  }
}

TEST_F(RelayTraceTest, WhatTheCallerDoesNotSampleIsPassedOnUnrecorded) {
  FakeWorker& worker = AddWorker("a");
  std::promise<std::string> seen;
  TellTraceparent(worker, &seen);
  StartGateway();
  ASSERT_OK(GenerateInTrace(Request("s", 1), "00").status);
  EXPECT_EQ(seen.get_future().get(), absl::StrCat("00-", kTraceId, "-", kCallerSpan, "-00"));
  EXPECT_TRUE(Spans().empty());
}

TEST_F(RelayTraceTest, WithoutACallerATraceBegins) {
  AddWorker("a");
  StartGateway();
  ASSERT_OK(Generate(Request("s", 1)).status);
  const OtlpSpan turn = Named(Spans(), "lckv.v1.Inference/Generate").at(0);
  EXPECT_EQ(turn.trace_id().size(), 16u);
  EXPECT_EQ(turn.parent_span_id(), "");
}

TEST_F(RelayTraceTest, AReceiverThatIsNotThereDisturbsNobody) {
  AddWorker("a");
  options_.tracing.target->port = 1;
  options_.tracing.exporting.queue_capacity = 4;
  options_.tracing.exporting.batch_spans = 2;
  options_.tracing.exporting.flush = absl::Milliseconds(100);
  StartGateway();
  for (int i = 0; i < 20; ++i) ASSERT_OK(Generate(Request(absl::StrCat("s", i), 1)).status);
  EXPECT_THAT(gateway_->metrics().registry().Serialize(),
              Not(HasSubstr("lckv_trace_spans_total{outcome=\"dropped\"} 0")));
  EXPECT_TRUE(Spans().empty());
}

}  // namespace
}  // namespace lckv::gateway
