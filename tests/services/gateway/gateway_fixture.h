#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "base/error_info.h"
#include "lckv/v1/inference.grpc.pb.h"
#include "rpc/channel.h"
#include "rpc/status_conversion.h"
#include "services/gateway/gateway.h"
#include "tests/services/gateway/fake_worker.h"
#include "tests/testing/status_matchers.h"

namespace lckv::gateway {

// A whole gateway in this process, between a real client and fake workers.
class GatewayFixture : public ::testing::Test {
 protected:
  // What a client got from one turn.
  struct Turn {
    absl::Status status;
    std::vector<v1::GenerateResponse> frames;
    std::vector<int32_t> tokens;
    v1::TurnResult done;  // of the last frame that has one
  };

  // Quick timings; a test changes them before StartGateway.
  GatewayFixture() {
    options_.listen = "127.0.0.1:0";
    options_.metrics_listen = "";
    options_.cache_node = "127.0.0.1:1";
    options_.workers.report_interval = absl::Milliseconds(20);
    options_.workers.reconnect_min = absl::Milliseconds(10);
    options_.workers.reconnect_max = absl::Milliseconds(50);
  }

  FakeWorker& AddWorker(const std::string& id) {
    workers_.push_back(std::make_unique<FakeWorker>(id));
    options_.workers.addresses.push_back(workers_.back()->address());
    return *workers_.back();
  }

  void StartGateway() {
    auto gateway = Gateway::Start(options_);
    ASSERT_OK(gateway);
    gateway_ = *std::move(gateway);
    ASSERT_TRUE(gateway_->directory().WaitForReports(absl::Now() + absl::Seconds(60)));
    stub_ = v1::Inference::NewStub(MakeChannel(gateway_->server().address()));
  }

  WorkerState StateOf(const std::string& worker) {
    return gateway_->directory().table().StateOf(worker);
  }

  // A turn of `tokens` tokens with seed 5.
  static v1::GenerateRequest Request(const std::string& session, uint32_t tokens) {
    v1::GenerateRequest request;
    request.set_session_id(session);
    request.set_create_session(true);
    request.set_text("hello");
    request.mutable_sampling()->set_seed(5);
    request.mutable_sampling()->set_max_tokens(tokens);
    return request;
  }

  Turn Generate(const v1::GenerateRequest& request) {
    grpc::ClientContext context;
    return Drain(*stub_->Generate(&context, request));
  }

  static Turn Drain(grpc::ClientReader<v1::GenerateResponse>& reader) {
    Turn turn;
    v1::GenerateResponse frame;
    while (reader.Read(&frame)) {
      turn.frames.push_back(frame);
      turn.tokens.insert(turn.tokens.end(), frame.token_ids().begin(), frame.token_ids().end());
      if (frame.has_done()) turn.done = frame.done();
    }
    turn.status = FromGrpcStatus(reader.Finish());
    return turn;
  }

  // The tokens of an undisturbed turn.
  static std::vector<int32_t> Tokens(int count, uint64_t seed = 5) {
    std::vector<int32_t> tokens;
    for (int i = 0; i < count; ++i) tokens.push_back(FakeWorker::TokenAt(seed, i));
    return tokens;
  }

  GatewayOptions options_;
  // Destroyed last: the gateway's streams end before the workers go.
  std::vector<std::unique_ptr<FakeWorker>> workers_;
  std::unique_ptr<Gateway> gateway_;
  std::unique_ptr<v1::Inference::Stub> stub_;
};

}  // namespace lckv::gateway
