// Turns through a whole gateway when nothing breaks: frames, ids, bounds, the client's side.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <thread>

#include "services/gateway/validation.h"
#include "tests/services/gateway/gateway_fixture.h"

namespace lckv::gateway {
namespace {

using lckv::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class RelayTest : public GatewayFixture {};

TEST_F(RelayTest, RelaysATurnFrameByFrame) {
  FakeWorker& worker = AddWorker("a");
  StartGateway();
  v1::GenerateRequest request = Request("s", 4);
  request.set_parse_special(true);
  request.set_expected_version(3);
  request.set_discard_on_disconnect(true);
  request.mutable_encode()->set_passes(7);
  request.set_durability(v1::MEMORY);
  const Turn turn = Generate(request);
  ASSERT_OK(turn.status);
  EXPECT_EQ(turn.tokens, Tokens(4));
  ASSERT_EQ(turn.frames.size(), 6u);
  EXPECT_EQ(turn.frames[0].session_id(), "s");
  EXPECT_EQ(turn.frames[0].seed(), 5u);
  for (size_t i = 1; i < turn.frames.size(); ++i) {
    EXPECT_EQ(turn.frames[i].session_id(), "");
    EXPECT_EQ(turn.frames[i].seed(), 0u);
    EXPECT_EQ(turn.frames[i].has_done(), i == 5);
  }
  EXPECT_EQ(turn.done.continuations(), 0u);
  EXPECT_EQ(turn.done.version(), 1u);

  ASSERT_EQ(worker.requests().size(), 1u);
  const v1::WorkerGenerateRequest sent = worker.requests()[0];
  EXPECT_EQ(sent.tenant(), "default");
  EXPECT_EQ(sent.turn_id().size(), 32u);
  EXPECT_EQ(sent.text(), "hello");
  EXPECT_TRUE(sent.parse_special());
  EXPECT_TRUE(sent.create_session());
  EXPECT_EQ(sent.expected_version(), 3u);
  EXPECT_TRUE(sent.discard_on_disconnect());
  EXPECT_EQ(sent.encode().passes(), 7u);
  EXPECT_EQ(sent.durability(), v1::MEMORY);
  EXPECT_FALSE(sent.takeover());
  EXPECT_EQ(sent.resume_from_size(), 0);
}

TEST_F(RelayTest, MakesSessionIdAndSeedWhenAbsent) {
  FakeWorker& worker = AddWorker("a");
  StartGateway();
  v1::GenerateRequest request;
  request.mutable_tokens()->add_ids(7);
  request.mutable_sampling()->set_max_tokens(1);
  const Turn first = Generate(request);
  const Turn second = Generate(request);
  ASSERT_OK(first.status);
  ASSERT_OK(second.status);
  EXPECT_OK(ValidateSessionId(first.frames[0].session_id()));
  EXPECT_NE(first.frames[0].session_id(), second.frames[0].session_id());
  EXPECT_NE(first.frames[0].seed(), second.frames[0].seed());
  const v1::WorkerGenerateRequest sent = worker.requests()[0];
  EXPECT_EQ(sent.session_id(), first.frames[0].session_id());
  EXPECT_TRUE(sent.create_session());
  EXPECT_EQ(sent.sampling().seed(), first.frames[0].seed());
  EXPECT_NE(sent.turn_id(), worker.requests()[1].turn_id());
}

TEST_F(RelayTest, RelaysAChat) {
  FakeWorker& worker = AddWorker("a");
  StartGateway();
  v1::ChatRequest request;
  v1::Message* message = request.add_messages();
  message->set_role("user");
  message->set_content("hi");
  grpc::ClientContext context;
  const Turn turn = Drain(*stub_->Chat(&context, request));
  ASSERT_OK(turn.status);
  EXPECT_EQ(turn.tokens.size(), 256u);  // the default
  ASSERT_EQ(worker.requests().size(), 1u);
  EXPECT_EQ(worker.requests()[0].chat().messages(0).content(), "hi");
}

TEST_F(RelayTest, PassesTheTraceOn) {
  FakeWorker& worker = AddWorker("a");
  std::promise<std::string> seen;
  worker.SetScript([&](grpc::ServerContext& context, const v1::WorkerGenerateRequest& request,
                       FakeWorker::Writer& writer) {
    const auto found = context.client_metadata().find("traceparent");
    seen.set_value(found == context.client_metadata().end()
                       ? ""
                       : std::string(found->second.data(), found->second.size()));
    return FakeWorker::Finish(request, writer);
  });
  StartGateway();
  grpc::ClientContext context;
  context.AddMetadata("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
  EXPECT_OK(Drain(*stub_->Generate(&context, Request("s", 1))).status);
  const std::string passed = seen.get_future().get();
  // As it came: with tracing off, a span of the gateway's own would be the missing parent of the
  // worker's.
  EXPECT_EQ(passed, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
}

TEST_F(RelayTest, RefusesABadRequestBeforeAnyWorkerSeesIt) {
  FakeWorker& worker = AddWorker("a");
  StartGateway();
  v1::GenerateRequest request = Request("bad id", 1);
  const Turn turn = Generate(request);
  EXPECT_THAT(turn.status, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("session_id")));
  EXPECT_EQ(ErrorReason(turn.status), kReasonInvalidField);
  EXPECT_TRUE(worker.requests().empty());
}

TEST_F(RelayTest, WithoutAReadyWorkerSaysSo) {
  AddWorker("a").SetState(v1::LoadReport::STARTING);
  StartGateway();
  const Turn turn = Generate(Request("s", 1));
  EXPECT_THAT(turn.status, StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_EQ(ErrorReason(turn.status), kReasonNoWorker);
  EXPECT_TRUE(GetRetryAfter(turn.status).has_value());
}

TEST_F(RelayTest, GoesToTheWorkerThatHoldsTheSession) {
  FakeWorker& a = AddWorker("a");
  FakeWorker& b = AddWorker("b");
  b.AddHot("hot-on-b");
  a.AddHot("hot-on-a");
  StartGateway();
  for (int i = 0; i < 4; ++i) {
    EXPECT_OK(Generate(Request("hot-on-a", 1)).status);
    EXPECT_OK(Generate(Request("hot-on-b", 1)).status);
  }
  for (const auto& request : a.requests()) EXPECT_EQ(request.session_id(), "hot-on-a");
  for (const auto& request : b.requests()) EXPECT_EQ(request.session_id(), "hot-on-b");
}

TEST_F(RelayTest, PassesAWorkersErrorOnUnchanged) {
  FakeWorker& worker = AddWorker("a");
  const grpc::Status scripted =
      TypedError(absl::StatusCode::kAborted, kReasonVersionConflict, {{"version", "12"}});
  worker.SetScript([&](grpc::ServerContext&, const v1::WorkerGenerateRequest&,
                       FakeWorker::Writer&) { return scripted; });
  StartGateway();
  grpc::ClientContext context;
  const auto reader = stub_->Generate(&context, Request("s", 1));
  v1::GenerateResponse frame;
  EXPECT_FALSE(reader->Read(&frame));
  const grpc::Status status = reader->Finish();
  EXPECT_EQ(status.error_code(), scripted.error_code());
  EXPECT_EQ(status.error_message(), scripted.error_message());
  EXPECT_EQ(status.error_details(), scripted.error_details());
  EXPECT_EQ(worker.requests().size(), 1u);
}

TEST_F(RelayTest, AWorkerThatSendsTooManyTokensIsCutOff) {
  FakeWorker& worker = AddWorker("a");
  worker.SetScript([](grpc::ServerContext& context, const v1::WorkerGenerateRequest& request,
                      FakeWorker::Writer& writer) {
    FakeWorker::WriteFirst(request, writer);
    FakeWorker::WriteTokens(request, writer, 0, 4);
    FakeWorker::WaitUntilCancelled(context);
    return grpc::Status::CANCELLED;
  });
  StartGateway();
  const Turn turn = Generate(Request("s", 3));
  EXPECT_THAT(turn.status, StatusIs(absl::StatusCode::kInternal));
  EXPECT_EQ(turn.tokens, Tokens(3));
}

TEST_F(RelayTest, NothingFollowsTheFinalFrame) {
  FakeWorker& worker = AddWorker("a");
  worker.SetScript([](grpc::ServerContext& context, const v1::WorkerGenerateRequest& request,
                      FakeWorker::Writer& writer) {
    FakeWorker::Finish(request, writer);
    FakeWorker::WriteTokens(request, writer, 0, 1);
    FakeWorker::WaitUntilCancelled(context);
    return grpc::Status::CANCELLED;
  });
  StartGateway();
  const Turn turn = Generate(Request("s", 3));
  EXPECT_OK(turn.status);
  EXPECT_EQ(turn.tokens, Tokens(3));
  EXPECT_TRUE(turn.frames.back().has_done());
}

// Reports come too seldom to tell of the first turn when the second one is placed.
TEST_F(RelayTest, ABurstSpreadsOut) {
  options_.workers.report_interval = absl::Hours(1);
  options_.workers.suspect_after = absl::Hours(2);
  std::promise<void> release;
  const std::shared_future<void> released = release.get_future().share();
  for (const char* id : {"a", "b"}) {
    AddWorker(id).SetScript([released](grpc::ServerContext&,
                                       const v1::WorkerGenerateRequest& request,
                                       FakeWorker::Writer& writer) {
      FakeWorker::WriteFirst(request, writer);
      released.wait();
      FakeWorker::WriteTokens(request, writer, 0, 1);
      FakeWorker::WriteDone(writer);
      return grpc::Status::OK;
    });
  }
  StartGateway();
  grpc::ClientContext first_context, second_context;
  const auto first = stub_->Generate(&first_context, Request("s", 1));
  v1::GenerateResponse frame;
  ASSERT_TRUE(first->Read(&frame));
  // The same session would go to the same worker, were both as busy.
  const auto second = stub_->Generate(&second_context, Request("s", 1));
  ASSERT_TRUE(second->Read(&frame));
  EXPECT_EQ(workers_[0]->requests().size(), 1u);
  EXPECT_EQ(workers_[1]->requests().size(), 1u);
  release.set_value();
  EXPECT_OK(Drain(*first).status);
  EXPECT_OK(Drain(*second).status);
}

TEST_F(RelayTest, TurnTimeoutEndsTheTurn) {
  options_.service.turn_timeout = absl::Milliseconds(50);
  FakeWorker& worker = AddWorker("a");
  worker.SetScript([](grpc::ServerContext& context, const v1::WorkerGenerateRequest& request,
                      FakeWorker::Writer& writer) {
    FakeWorker::WriteFirst(request, writer);
    FakeWorker::WaitUntilCancelled(context);
    return grpc::Status::CANCELLED;
  });
  StartGateway();
  EXPECT_THAT(Generate(Request("s", 3)).status, StatusIs(absl::StatusCode::kDeadlineExceeded));
}

TEST_F(RelayTest, ClientCancelReachesTheWorkerAndFreesTheSlot) {
  options_.max_concurrent_turns = 1;
  FakeWorker& worker = AddWorker("a");
  std::promise<void> cancelled;
  worker.SetScript([&](grpc::ServerContext& context, const v1::WorkerGenerateRequest& request,
                       FakeWorker::Writer& writer) {
    FakeWorker::WriteFirst(request, writer);
    FakeWorker::WaitUntilCancelled(context);
    cancelled.set_value();
    return grpc::Status::CANCELLED;
  });
  StartGateway();
  grpc::ClientContext context;
  const auto reader = stub_->Generate(&context, Request("s", 3));
  v1::GenerateResponse frame;
  ASSERT_TRUE(reader->Read(&frame));
  context.TryCancel();
  cancelled.get_future().wait();
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  worker.SetScript([](grpc::ServerContext&, const v1::WorkerGenerateRequest& request,
                      FakeWorker::Writer& writer) { return FakeWorker::Finish(request, writer); });
  EXPECT_TRUE(Eventually([&] { return Generate(Request("s", 1)).status.ok(); }));
}

TEST_F(RelayTest, ASlowClientHoldsTheWorkerBack) {
  constexpr int kFrames = 1000;
  const std::string text(64 << 10, 'x');
  FakeWorker& worker = AddWorker("a");
  std::atomic<int> written{0};
  std::promise<void> ended;
  worker.SetScript(
      [&](grpc::ServerContext&, const v1::WorkerGenerateRequest&, FakeWorker::Writer& writer) {
        v1::GenerateResponse frame;
        frame.set_text(text);
        while (written < kFrames && writer.Write(frame)) ++written;
        ended.set_value();
        return grpc::Status::OK;
      });
  StartGateway();
  grpc::ClientContext context;
  const auto reader = stub_->Generate(&context, Request("s", 1));
  v1::GenerateResponse frame;
  ASSERT_TRUE(reader->Read(&frame));
  // 64 MB are on offer, which no buffer on the way holds: only the cancel lets the worker end.
  std::future<void> end = ended.get_future();
  EXPECT_EQ(end.wait_for(std::chrono::milliseconds(0)), std::future_status::timeout);
  context.TryCancel();
  end.wait();
  EXPECT_LT(written, kFrames);
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  // It is no broken stream that another call continues.
  gateway_->Drain(absl::Now() + absl::Seconds(60));
  EXPECT_EQ(worker.requests().size(), 1u);
}

TEST_F(RelayTest, RefusesTurnsBeyondItsBound) {
  options_.max_concurrent_turns = 1;
  FakeWorker& worker = AddWorker("a");
  std::promise<void> release;
  worker.SetScript([&](grpc::ServerContext&, const v1::WorkerGenerateRequest& request,
                       FakeWorker::Writer& writer) {
    FakeWorker::WriteFirst(request, writer);
    release.get_future().wait();
    FakeWorker::WriteTokens(request, writer, 0, 1);
    FakeWorker::WriteDone(writer);
    return grpc::Status::OK;
  });
  StartGateway();
  grpc::ClientContext context;
  const auto reader = stub_->Generate(&context, Request("s", 1));
  v1::GenerateResponse frame;
  ASSERT_TRUE(reader->Read(&frame));
  const Turn refused = Generate(Request("t", 1));
  EXPECT_THAT(refused.status, StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_EQ(ErrorReason(refused.status), kReasonQueueFull);
  EXPECT_TRUE(GetRetryAfter(refused.status).has_value());
  release.set_value();
  EXPECT_OK(Drain(*reader).status);
}

TEST_F(RelayTest, DrainLetsRunningTurnsFinishAndAdmitsNoMore) {
  FakeWorker& worker = AddWorker("a");
  std::promise<void> release;
  worker.SetScript([&](grpc::ServerContext&, const v1::WorkerGenerateRequest& request,
                       FakeWorker::Writer& writer) {
    FakeWorker::WriteFirst(request, writer);
    release.get_future().wait();
    FakeWorker::WriteTokens(request, writer, 0, 3);
    FakeWorker::WriteDone(writer);
    return grpc::Status::OK;
  });
  StartGateway();
  grpc::ClientContext context;
  const auto reader = stub_->Generate(&context, Request("s", 3));
  v1::GenerateResponse frame;
  ASSERT_TRUE(reader->Read(&frame));
  std::thread stopping([&] {
    gateway_->server().Stop(absl::Seconds(60),
                            [&](absl::Time deadline) { gateway_->Drain(deadline); });
  });
  EXPECT_TRUE(Eventually(
      [&] { return ErrorReason(Generate(Request("late", 1)).status) == kReasonDraining; }));
  release.set_value();
  const Turn turn = Drain(*reader);
  EXPECT_OK(turn.status);
  EXPECT_EQ(turn.tokens, Tokens(3));
  stopping.join();
}

TEST_F(RelayTest, ManyTurnsAtOnce) {
  AddWorker("a");
  AddWorker("b");
  StartGateway();
  std::vector<std::thread> clients;
  for (int i = 0; i < 16; ++i) {
    clients.emplace_back([this, i] {
      for (int j = 0; j < 8; ++j) {
        const Turn turn = Generate(Request(absl::StrCat("s", i), 20));
        EXPECT_OK(turn.status);
        EXPECT_EQ(turn.tokens, Tokens(20));
      }
    });
  }
  for (std::thread& client : clients) client.join();
}

TEST_F(RelayTest, CountsWhatItDid) {
  AddWorker("a");
  StartGateway();
  EXPECT_OK(Generate(Request("s", 3)).status);
  EXPECT_FALSE(Generate(Request("bad id", 3)).status.ok());
  EXPECT_TRUE(Eventually([&] {
    const std::string text = gateway_->metrics().registry().Serialize();
    return ::testing::Value(
        text,
        ::testing::AllOf(
            HasSubstr("lckv_gateway_requests_total{code=\"OK\",method=\"Generate\"} 1"),
            HasSubstr(
                "lckv_gateway_requests_total{code=\"INVALID_ARGUMENT\",method=\"Generate\"} 1"),
            HasSubstr("lckv_gateway_time_to_first_token_seconds_count 1"),
            HasSubstr("lckv_gateway_inter_token_latency_seconds_count 2"),
            HasSubstr("lckv_gateway_turn_duration_seconds_count 1"),
            HasSubstr("lckv_gateway_generated_tokens_total 3"),
            HasSubstr("lckv_gateway_running_turns 0"), HasSubstr("lckv_gateway_waiting_turns 0"),
            HasSubstr("lckv_gateway_workers{state=\"ready\"} 1")));
  }));
}

}  // namespace
}  // namespace lckv::gateway
