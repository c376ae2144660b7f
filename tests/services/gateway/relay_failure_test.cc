// Turns whose stream breaks, through a whole gateway with fake workers: the client sees the same
// tokens as without the failure.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <future>

#include "tests/services/gateway/gateway_fixture.h"
#include "tests/testing/cache_fixtures.h"

namespace lckv::gateway {
namespace {

using lckv::testing::StatusIs;
using ::testing::ElementsAreArray;
using Writer = FakeWorker::Writer;
using WorkerRequest = v1::WorkerGenerateRequest;

class RelayFailureTest : public GatewayFixture {
 protected:
  // Two workers, of which `first_` gets the session's turn.
  void StartWithTwo() {
    first_ = &AddWorker("first");
    second_ = &AddWorker("second");
    first_->AddHot("s");
    StartGateway();
  }

  // Sends the first frame and `tokens` tokens.
  static void Begin(const WorkerRequest& request, Writer& writer, int tokens) {
    FakeWorker::WriteFirst(request, writer);
    FakeWorker::WriteTokens(request, writer, request.resume_from_size(),
                            request.resume_from_size() + tokens);
  }
  // A script that breaks off after `tokens` tokens with `status`.
  static FakeWorker::Script BreakAfter(int tokens, grpc::Status status) {
    return [tokens, status](grpc::ServerContext&, const WorkerRequest& request, Writer& writer) {
      Begin(request, writer, tokens);
      return status;
    };
  }

  FakeWorker* first_ = nullptr;
  FakeWorker* second_ = nullptr;
};

TEST_F(RelayFailureTest, AWorkerThatDiesMidStreamIsReplaced) {
  StartWithTwo();
  std::promise<void> begun;
  first_->SetScript(
      [&](grpc::ServerContext& context, const WorkerRequest& request, Writer& writer) {
        Begin(request, writer, 3);
        begun.set_value();
        FakeWorker::WaitUntilCancelled(context);
        return grpc::Status::CANCELLED;
      });
  grpc::ClientContext context;
  const auto reader = stub_->Generate(&context, Request("s", 8));
  begun.get_future().wait();
  first_->Kill();
  const Turn turn = Drain(*reader);
  ASSERT_OK(turn.status);
  EXPECT_EQ(turn.tokens, Tokens(8));
  EXPECT_EQ(turn.done.continuations(), 1u);
  // The new worker's own first frame is not passed on.
  for (size_t i = 1; i < turn.frames.size(); ++i) EXPECT_EQ(turn.frames[i].session_id(), "");

  const WorkerRequest before = first_->requests().at(0);
  const WorkerRequest after = second_->requests().at(0);
  EXPECT_FALSE(before.takeover());
  EXPECT_TRUE(after.takeover());
  // Exactly what the client has, which may be less than what the worker sent.
  const int resumed = after.resume_from_size();
  EXPECT_LE(resumed, 3);
  EXPECT_THAT(after.resume_from(), ElementsAreArray(Tokens(resumed)));
  EXPECT_EQ(after.turn_id(), before.turn_id());
  EXPECT_EQ(after.sampling().seed(), before.sampling().seed());
  EXPECT_EQ(after.text(), before.text());
}

TEST_F(RelayFailureTest, ResumesAfterExactlyTheDeliveredTokens) {
  StartWithTwo();
  first_->SetScript(BreakAfter(3, grpc::Status(grpc::StatusCode::UNAVAILABLE, "reset")));
  const Turn turn = Generate(Request("s", 8));
  ASSERT_OK(turn.status);
  EXPECT_EQ(turn.tokens, Tokens(8));
  EXPECT_THAT(second_->requests().at(0).resume_from(), ElementsAreArray(Tokens(3)));
}

TEST_F(RelayFailureTest, SessionIdAndSeedComeOnceInWhateverFrameTheyAre) {
  StartWithTwo();
  first_->SetScript(BreakAfter(3, grpc::Status(grpc::StatusCode::UNAVAILABLE, "reset")));
  second_->SetScript([](grpc::ServerContext&, const WorkerRequest& request, Writer& writer) {
    v1::GenerateResponse frame;
    frame.set_session_id(request.session_id());
    frame.set_seed(request.sampling().seed());
    frame.add_token_ids(FakeWorker::TokenAt(request.sampling().seed(), 3));
    writer.Write(frame);
    FakeWorker::WriteTokens(request, writer, 4, 8);
    FakeWorker::WriteDone(writer);
    return grpc::Status::OK;
  });
  const Turn turn = Generate(Request("s", 8));
  ASSERT_OK(turn.status);
  EXPECT_EQ(turn.tokens, Tokens(8));
  for (size_t i = 0; i < turn.frames.size(); ++i) {
    EXPECT_EQ(turn.frames[i].session_id(), i == 0 ? "s" : "") << i;
    EXPECT_EQ(turn.frames[i].seed(), i == 0 ? 5u : 0u) << i;
  }
}

TEST_F(RelayFailureTest, AStreamWithoutAFinalFrameIsBroken) {
  StartWithTwo();
  first_->SetScript(BreakAfter(3, grpc::Status::OK));
  const Turn turn = Generate(Request("s", 8));
  ASSERT_OK(turn.status);
  EXPECT_EQ(turn.tokens, Tokens(8));
  EXPECT_EQ(turn.done.continuations(), 1u);
}

TEST_F(RelayFailureTest, AWorkerThatDiesBeforeItsFirstFrameIsReplacedToo) {
  StartWithTwo();
  first_->Kill();
  const Turn turn = Generate(Request("s", 4));
  ASSERT_OK(turn.status);
  EXPECT_EQ(turn.tokens, Tokens(4));
  EXPECT_EQ(turn.frames[0].session_id(), "s");
}

TEST_F(RelayFailureTest, AFailureAfterTheFinalFrameIsNone) {
  StartWithTwo();
  first_->SetScript([](grpc::ServerContext&, const WorkerRequest& request, Writer& writer) {
    FakeWorker::Finish(request, writer);
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, "reset");
  });
  const Turn turn = Generate(Request("s", 4));
  ASSERT_OK(turn.status);
  EXPECT_EQ(turn.done.continuations(), 0u);
  EXPECT_TRUE(second_->requests().empty());
}

TEST_F(RelayFailureTest, SurvivesTwoBreaksInOneTurn) {
  StartWithTwo();
  const auto script = BreakAfter(2, grpc::Status(grpc::StatusCode::UNAVAILABLE, "reset"));
  std::atomic<int> calls{0};
  for (FakeWorker* worker : {first_, second_}) {
    worker->SetScript([&, script](grpc::ServerContext& context, const WorkerRequest& request,
                                  Writer& writer) {
      return ++calls <= 2 ? script(context, request, writer) : FakeWorker::Finish(request, writer);
    });
  }
  const Turn turn = Generate(Request("s", 8));
  ASSERT_OK(turn.status);
  EXPECT_EQ(turn.tokens, Tokens(8));
  EXPECT_EQ(turn.done.continuations(), 2u);
}

TEST_F(RelayFailureTest, EndsWhenEveryContinuationBreaks) {
  StartWithTwo();
  for (FakeWorker* worker : {first_, second_}) {
    worker->SetScript(BreakAfter(1, grpc::Status(grpc::StatusCode::UNAVAILABLE, "reset")));
  }
  const Turn turn = Generate(Request("s", 8));
  EXPECT_THAT(turn.status, StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_EQ(ErrorReason(turn.status), kReasonNoWorker);
  EXPECT_EQ(turn.tokens, Tokens(1 + options_.relay.max_continuations));
}

TEST_F(RelayFailureTest, EndsWhenBothWorkersAreDead) {
  options_.relay.continue_wait = absl::Milliseconds(100);
  StartWithTwo();
  second_->Kill();
  ASSERT_TRUE(Eventually([&] { return StateOf("second") == WorkerState::kDead; }));
  first_->SetScript(
      [&](grpc::ServerContext& context, const WorkerRequest& request, Writer& writer) {
        Begin(request, writer, 2);
        FakeWorker::WaitUntilCancelled(context);
        return grpc::Status::CANCELLED;
      });
  grpc::ClientContext context;
  const auto reader = stub_->Generate(&context, Request("s", 8));
  v1::GenerateResponse frame;
  ASSERT_TRUE(reader->Read(&frame));
  first_->Kill();
  const Turn turn = Drain(*reader);
  EXPECT_THAT(turn.status, StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_EQ(ErrorReason(turn.status), kReasonNoWorker);
}

TEST_F(RelayFailureTest, WaitsForAWorkerToComeBack) {
  options_.relay.continue_wait = absl::Seconds(60);
  first_ = &AddWorker("first");
  StartGateway();
  std::promise<void> begun;
  first_->SetScript(
      [&](grpc::ServerContext& context, const WorkerRequest& request, Writer& writer) {
        Begin(request, writer, 2);
        begun.set_value();
        FakeWorker::WaitUntilCancelled(context);
        return grpc::Status::CANCELLED;
      });
  grpc::ClientContext context;
  const auto reader = stub_->Generate(&context, Request("s", 8));
  begun.get_future().wait();
  first_->SetState(v1::LoadReport::DRAINING);  // no attempt while it goes down
  ASSERT_TRUE(Eventually([&] { return StateOf("first") == WorkerState::kDraining; }));
  first_->Kill();
  first_->SetState(v1::LoadReport::READY);
  first_->SetScript([](grpc::ServerContext&, const WorkerRequest& request, Writer& writer) {
    return FakeWorker::Finish(request, writer);
  });
  first_->Restart();
  const Turn turn = Drain(*reader);
  ASSERT_OK(turn.status);
  EXPECT_EQ(turn.tokens, Tokens(8));
}

// Better the worker that broke the stream than none.
TEST_F(RelayFailureTest, TheOnlyWorkerIsAskedAgain) {
  options_.relay.continue_wait = absl::ZeroDuration();
  first_ = &AddWorker("first");
  StartGateway();
  std::atomic<int> calls{0};
  first_->SetScript([&](grpc::ServerContext&, const WorkerRequest& request, Writer& writer) {
    if (calls++ > 0) return FakeWorker::Finish(request, writer);
    Begin(request, writer, 3);
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, "reset");
  });
  const Turn turn = Generate(Request("s", 8));
  ASSERT_OK(turn.status);
  EXPECT_EQ(turn.tokens, Tokens(8));
}

// The time that a broken turn may wait begins with its break, not with an earlier one that was
// repaired.
TEST_F(RelayFailureTest, ARepairedBreakIsForgotten) {
  lckv::testing::FakeClock clock;
  options_.clock = &clock;
  StartWithTwo();
  std::atomic<int> calls{0};
  for (FakeWorker* worker : {first_, second_}) {
    worker->SetScript([&](grpc::ServerContext&, const WorkerRequest& request, Writer& writer) {
      switch (++calls) {
        case 1:
          Begin(request, writer, 2);
          return grpc::Status(grpc::StatusCode::UNAVAILABLE, "reset");
        case 2:
          Begin(request, writer, 2);
          clock.Advance(2 * options_.relay.continue_wait);
          return grpc::Status(grpc::StatusCode::UNAVAILABLE, "reset");
        case 3:
          return TypedError(absl::StatusCode::kResourceExhausted, kReasonQueueFull);
        default:
          return FakeWorker::Finish(request, writer);
      }
    });
  }
  const Turn turn = Generate(Request("s", 8));
  ASSERT_OK(turn.status);
  EXPECT_EQ(turn.tokens, Tokens(8));
  EXPECT_EQ(turn.done.continuations(), 2u);
}

TEST_F(RelayFailureTest, AHeldLeaseLeadsToItsHolder) {
  StartWithTwo();
  first_->SetScript([](grpc::ServerContext&, const WorkerRequest&, Writer&) {
    return TypedError(absl::StatusCode::kAborted, kReasonLeaseHeld, {{"holder", "second"}});
  });
  const Turn turn = Generate(Request("s", 4));
  ASSERT_OK(turn.status);
  EXPECT_EQ(turn.tokens, Tokens(4));
  EXPECT_EQ(turn.done.continuations(), 0u);
  ASSERT_EQ(second_->requests().size(), 1u);
  EXPECT_FALSE(second_->requests()[0].takeover());
}

TEST_F(RelayFailureTest, ALeaseOfADeadHolderIsTakenOver) {
  StartWithTwo();
  first_->SetScript([](grpc::ServerContext&, const WorkerRequest& request, Writer& writer) {
    if (request.takeover()) return FakeWorker::Finish(request, writer);
    return TypedError(absl::StatusCode::kAborted, kReasonLeaseHeld, {{"holder", "second"}});
  });
  second_->Kill();
  ASSERT_TRUE(Eventually([&] { return StateOf("second") == WorkerState::kDead; }));
  const Turn turn = Generate(Request("s", 4));
  ASSERT_OK(turn.status);
  EXPECT_EQ(turn.tokens, Tokens(4));
  EXPECT_EQ(first_->requests().size(), 2u);
}

TEST_F(RelayFailureTest, LeasesThatPointAtEachOtherEnd) {
  StartWithTwo();
  for (FakeWorker* worker : {first_, second_}) {
    const std::string other = worker == first_ ? "second" : "first";
    worker->SetScript([other](grpc::ServerContext&, const WorkerRequest&, Writer&) {
      return TypedError(absl::StatusCode::kAborted, kReasonLeaseHeld, {{"holder", other}});
    });
  }
  const Turn turn = Generate(Request("s", 4));
  EXPECT_THAT(turn.status, StatusIs(absl::StatusCode::kAborted));
  EXPECT_EQ(ErrorReason(turn.status), kReasonLeaseHeld);
  EXPECT_EQ(first_->requests().size() + second_->requests().size(),
            1u + options_.relay.max_reroutes);
}

TEST_F(RelayFailureTest, ADrainingWorkerThatRefusesIsPassedOver) {
  StartWithTwo();
  first_->SetScript([](grpc::ServerContext&, const WorkerRequest&, Writer&) {
    return TypedError(absl::StatusCode::kUnavailable, kReasonDraining);
  });
  const Turn turn = Generate(Request("s", 4));
  ASSERT_OK(turn.status);
  EXPECT_EQ(turn.tokens, Tokens(4));
  EXPECT_EQ(turn.done.continuations(), 0u);
  EXPECT_TRUE(second_->requests().at(0).takeover());
}

TEST_F(RelayFailureTest, ADrainingWorkerMayHandAStreamOver) {
  StartWithTwo();
  first_->SetScript(BreakAfter(3, TypedError(absl::StatusCode::kUnavailable, kReasonDraining)));
  const Turn turn = Generate(Request("s", 8));
  ASSERT_OK(turn.status);
  EXPECT_EQ(turn.tokens, Tokens(8));
  EXPECT_EQ(turn.done.continuations(), 1u);
  EXPECT_THAT(second_->requests().at(0).resume_from(), ElementsAreArray(Tokens(3)));
}

TEST_F(RelayFailureTest, ATypedErrorMidStreamEndsTheTurn) {
  StartWithTwo();
  first_->SetScript(BreakAfter(3, TypedError(absl::StatusCode::kAborted, kReasonStaleEpoch)));
  const Turn turn = Generate(Request("s", 8));
  EXPECT_THAT(turn.status, StatusIs(absl::StatusCode::kAborted));
  EXPECT_EQ(ErrorReason(turn.status), kReasonStaleEpoch);
  EXPECT_EQ(turn.tokens, Tokens(3));
  EXPECT_TRUE(second_->requests().empty());
}

TEST_F(RelayFailureTest, ABrokenTurnWaitsForAFullWorker) {
  StartWithTwo();
  first_->SetScript(BreakAfter(3, grpc::Status(grpc::StatusCode::UNAVAILABLE, "reset")));
  // Only the other one is left to ask.
  std::atomic<int> refusals{0};
  second_->SetScript([&](grpc::ServerContext&, const WorkerRequest& request, Writer& writer) {
    first_->SetState(v1::LoadReport::DRAINING);
    if (refusals++ < 2) return TypedError(absl::StatusCode::kResourceExhausted, kReasonQueueFull);
    return FakeWorker::Finish(request, writer);
  });
  const Turn turn = Generate(Request("s", 8));
  ASSERT_OK(turn.status);
  EXPECT_EQ(turn.tokens, Tokens(8));
}

TEST_F(RelayFailureTest, AStoppedWorkerLosesItsTurn) {
  options_.workers.suspect_after = absl::Milliseconds(200);
  options_.stall_timeout = absl::Milliseconds(200);
  StartWithTwo();
  first_->SetScript(
      [this](grpc::ServerContext& context, const WorkerRequest& request, Writer& writer) {
        Begin(request, writer, 3);
        first_->FallSilent();
        FakeWorker::WaitUntilCancelled(context);
        return grpc::Status::CANCELLED;
      });
  const Turn turn = Generate(Request("s", 8));
  ASSERT_OK(turn.status);
  EXPECT_EQ(turn.tokens, Tokens(8));
  EXPECT_EQ(turn.done.continuations(), 1u);
  EXPECT_TRUE(second_->requests().at(0).takeover());
}

TEST_F(RelayFailureTest, ASlowWorkerThatReportsKeepsItsTurn) {
  options_.stall_timeout = absl::Milliseconds(50);
  StartWithTwo();
  first_->SetScript([this](grpc::ServerContext&, const WorkerRequest& request, Writer& writer) {
    Begin(request, writer, 3);
    // Much longer than the stall timeout, told by its reports.
    const int reports = first_->reports_sent() + 20;
    EXPECT_TRUE(Eventually([&] { return first_->reports_sent() >= reports; }));
    FakeWorker::WriteTokens(request, writer, 3, 8);
    FakeWorker::WriteDone(writer);
    return grpc::Status::OK;
  });
  const Turn turn = Generate(Request("s", 8));
  ASSERT_OK(turn.status);
  EXPECT_EQ(turn.tokens, Tokens(8));
  EXPECT_EQ(turn.done.continuations(), 0u);
}

TEST_F(RelayFailureTest, AClientThatLeavesWhileATurnWaitsFreesItsSlot) {
  options_.max_concurrent_turns = 1;
  options_.relay.continue_wait = absl::Seconds(600);
  first_ = &AddWorker("first");
  StartGateway();
  std::promise<void> begun;
  first_->SetScript(
      [&](grpc::ServerContext& context, const WorkerRequest& request, Writer& writer) {
        Begin(request, writer, 2);
        begun.set_value();
        FakeWorker::WaitUntilCancelled(context);
        return grpc::Status::CANCELLED;
      });
  grpc::ClientContext context;
  const auto reader = stub_->Generate(&context, Request("s", 8));
  begun.get_future().wait();
  first_->Kill();
  ASSERT_TRUE(Eventually([&] { return StateOf("first") == WorkerState::kDead; }));
  context.TryCancel();
  // The slot is free again: the next turn gets as far as the router.
  EXPECT_TRUE(
      Eventually([&] { return ErrorReason(Generate(Request("t", 1)).status) == kReasonNoWorker; }));
}

}  // namespace
}  // namespace lckv::gateway
