#include "services/common/server_runner.h"

#include <gmock/gmock.h>
#include <grpc/support/log.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <future>
#include <thread>

#include "absl/time/clock.h"
#include "lckv/v1/worker.grpc.pb.h"
#include "rpc/channel.h"
#include "services/common/metrics_server.h"
#include "tests/testing/status_matchers.h"

namespace lckv {
namespace {

using ::testing::HasSubstr;
using testing::StatusIs;

// Answers Tokenize with the number of bytes; holds Detokenize until the test lets it go.
class FakeService final : public v1::Worker::CallbackService {
 public:
  grpc::ServerUnaryReactor* Tokenize(grpc::CallbackServerContext* context,
                                     const v1::TokenizeRequest* request,
                                     v1::TokenizeResponse* response) override {
    response->add_ids(static_cast<int32_t>(request->text().size()));
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
  grpc::ServerUnaryReactor* Detokenize(grpc::CallbackServerContext* context,
                                       const v1::DetokenizeRequest*,
                                       v1::DetokenizeResponse*) override {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    held.set_value(reactor);
    return reactor;
  }

  std::promise<grpc::ServerUnaryReactor*> held;
};

class ServerRunnerTest : public ::testing::Test {
 protected:
  void StartServer(ServerOptions options = {}) {
    auto started = ServerRunner::Start(options, {{v1::Worker::service_full_name(), &service_}});
    ASSERT_OK(started);
    runner_ = *std::move(started);
    stub_ = v1::Worker::NewStub(MakeChannel(runner_->address()));
  }

  grpc::Status Tokenize(size_t bytes) {
    grpc::ClientContext context;
    v1::TokenizeRequest request;
    request.set_text(std::string(bytes, 'x'));
    v1::TokenizeResponse response;
    return stub_->Tokenize(&context, request, &response);
  }

  FakeService service_;
  std::unique_ptr<ServerRunner> runner_;
  std::unique_ptr<v1::Worker::Stub> stub_;
};

TEST_F(ServerRunnerTest, ServesOnTheReportedPort) {
  StartServer();
  EXPECT_TRUE(Tokenize(3).ok());
}

TEST_F(ServerRunnerTest, RefusesMessagesOverTheLimit) {
  ServerOptions options;
  options.max_receive_bytes = 1000;
  StartServer(options);
  EXPECT_TRUE(Tokenize(900).ok());
  EXPECT_EQ(Tokenize(1100).error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
}

TEST_F(ServerRunnerTest, DoesNotShareAPort) {
  StartServer();
  ServerOptions options;
  options.listen = runner_->address();
  FakeService other;
  EXPECT_THAT(ServerRunner::Start(options, {{v1::Worker::service_full_name(), &other}}),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr(options.listen)));
}

TEST_F(ServerRunnerTest, RefusesAMalformedAddress) {
  ServerOptions options;
  options.listen = "no-port";
  EXPECT_THAT(ServerRunner::Start(options, {}), StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(ServerRunnerTest, StopLetsARunningCallFinish) {
  ServerOptions options;
  options.linger = absl::Seconds(60);
  StartServer(options);
  auto call = std::async(std::launch::async, [&] {
    grpc::ClientContext context;
    v1::DetokenizeResponse response;
    return stub_->Detokenize(&context, {}, &response);
  });
  grpc::ServerUnaryReactor* reactor = service_.held.get_future().get();
  absl::Time seen_deadline;
  const absl::Time before = absl::Now();
  runner_->Stop(absl::Seconds(60), [&](absl::Time deadline) {
    seen_deadline = deadline;
    reactor->Finish(grpc::Status::OK);
  });
  EXPECT_TRUE(call.get().ok());
  EXPECT_GE(seen_deadline, before + absl::Seconds(60));
  EXPECT_FALSE(Tokenize(1).ok());
}

TEST_F(ServerRunnerTest, StopCancelsWhatOutlivesItsDeadline) {
  ServerOptions options;
  options.linger = absl::Milliseconds(1);
  StartServer(options);
  auto call = std::async(std::launch::async, [&] {
    grpc::ClientContext context;
    v1::DetokenizeResponse response;
    return stub_->Detokenize(&context, {}, &response);
  });
  grpc::ServerUnaryReactor* reactor = service_.held.get_future().get();
  // The client's call ends by itself; the server then waits for its handler.
  std::thread stopping([&] { runner_->Stop(absl::Seconds(60), [](absl::Time) {}); });
  EXPECT_FALSE(call.get().ok());
  reactor->Finish(grpc::Status::CANCELLED);
  stopping.join();
}

TEST_F(ServerRunnerTest, ServesUntilTheSignal) {
  BlockStopSignals();
  StartServer();
  MetricsRegistry registry;
  ASSERT_OK_AND_ASSIGN(auto metrics, MetricsServer::Start("127.0.0.1:0", &registry));
  bool drained = false;
  // The signal is blocked, so it waits until the service asks for it.
  ASSERT_EQ(raise(SIGTERM), 0);
  ::testing::internal::CaptureStdout();
  ServeUntilStopped("worker", *runner_, metrics.get(), absl::Seconds(60),
                    [&](absl::Time) { drained = true; });
  EXPECT_TRUE(drained);
  EXPECT_EQ(::testing::internal::GetCapturedStdout(), "{\"service\":\"worker\",\"listen\":\"" +
                                                          runner_->address() + "\",\"metrics\":\"" +
                                                          metrics->address() + "\"}\n");
}

TEST_F(ServerRunnerTest, WhatGrpcSaysIsALineOfTheLog) {
  StartServer();
  ::testing::internal::CaptureStderr();
  gpr_log("src/core/part.cc", 12, GPR_LOG_SEVERITY_ERROR, "handshake %d failed", 7);
  const std::string line = ::testing::internal::GetCapturedStderr();
  EXPECT_THAT(line, HasSubstr(R"("level":"warning")"));
  EXPECT_THAT(line, HasSubstr(R"("detail":"handshake 7 failed","where":"part.cc:12")"));
}

}  // namespace
}  // namespace lckv
