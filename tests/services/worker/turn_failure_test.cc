// Turns against a fake engine and a cache node in memory: commits, leases and clients that fail.

#include <algorithm>

#include "tests/services/worker/worker_fixture.h"

namespace lckv::worker {
namespace {

class TurnFailureTest : public WorkerFixture {};

TEST_F(TurnFailureTest, ACommitUnderAnOldEpochEndsTheTurn) {
  TestWorker worker("w1", &cache_);
  RecordingSink first, sink;
  ASSERT_OK(worker.Run(Request("t1"), first));
  sink.on_write = [&](const v1::GenerateResponse& frame) {
    if (!frame.session_id().empty()) StealLease("w2");
  };
  const absl::Status status = worker.Run(Request("t2"), sink);
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kAborted));
  EXPECT_EQ(ErrorReason(status), kReasonStaleEpoch);
  EXPECT_FALSE(sink.finished());
  EXPECT_FALSE(worker.Hot());
  EXPECT_EQ(worker.engine.load().open_sessions, 0);
  EXPECT_EQ(Stored().version(), 1u);
  EXPECT_EQ(Holder(), "w2");
}

TEST_F(TurnFailureTest, TheOtherWorkersTurnStands) {
  const auto expected = Undisturbed({Request("t1"), Request("t2"), Request("t3")});
  TestWorker loser("w1", &cache_), winner("w2", &cache_);
  RecordingSink first, won, sink;
  ASSERT_OK(loser.Run(Request("t1"), first));
  v1::WorkerGenerateRequest takeover = Request("t2");
  takeover.set_takeover(true);
  ASSERT_OK(winner.Run(takeover, won));
  EXPECT_EQ(won.tokens, expected[1]);
  // The loser finds out when it renews, and is told who has the session.
  ForgetRenewals(loser);
  EXPECT_EQ(ErrorReason(loser.Run(Request("t3"), sink)), kReasonLeaseHeld);
  EXPECT_FALSE(loser.Hot());
}

TEST_F(TurnFailureTest, ALeaseThatRanOutUnusedIsTakenAgain) {
  const auto expected = Undisturbed({Request("t1"), Request("t2")});
  TestWorker worker("w1", &cache_);
  RecordingSink first, second;
  ASSERT_OK(worker.Run(Request("t1"), first));
  worker.WaitForPushes();
  // Another worker had it, changed nothing and gave it back.
  GiveBack(StealLease("w2"));
  ASSERT_OK(worker.Run(Request("t2"), second));
  EXPECT_EQ(second.tokens, expected[1]);
  EXPECT_EQ(second.done().restore_source(), v1::HOT);
  EXPECT_EQ(second.done().version(), 2u);
  EXPECT_EQ(Holder(), "w1");
}

TEST_F(TurnFailureTest, ADurableTurnIsNotAcknowledgedWithoutTheCacheNode) {
  const auto expected = Undisturbed({Request("t1"), Request("t2")});
  TestWorker worker("w1", &cache_);
  RecordingSink first, failed, sink;
  ASSERT_OK(worker.Run(Request("t1"), first));
  worker.WaitForPushes();
  cache_.Fail(FakeCacheClient::kCommit, absl::UnavailableError("down"), 1 << 20);
  const absl::Status status = worker.Run(Request("t2"), failed);
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_EQ(ErrorReason(status), kReasonCacheUnavailable);
  EXPECT_FALSE(failed.finished());
  EXPECT_EQ(Stored().version(), 1u);
  // The turn is gone, the session is not.
  cache_.Heal();
  worker.WaitForPushes();
  ASSERT_OK(worker.Run(Request("t2"), sink));
  EXPECT_EQ(sink.tokens, expected[1]);
  EXPECT_EQ(sink.done().version(), 2u);
  EXPECT_EQ(sink.done().restore_source(), v1::HOT);
}

TEST_F(TurnFailureTest, ACommitIsRepeatedWhileTheNodeIsAway) {
  TestWorker worker("w1", &cache_);
  cache_.Fail(FakeCacheClient::kCommit, absl::UnavailableError("down"), 3);
  RecordingSink sink;
  ASSERT_OK(worker.Run(Request("t1", 20, 1), sink));
  EXPECT_EQ(Stored().version(), 1u);
}

TEST_F(TurnFailureTest, ACommitWhoseAnswerWasLostIsFoundAgain) {
  const auto expected = Undisturbed({Request("t1")});
  TestWorker::Options options;
  options.checkpoint_tokens = 1000;
  // One attempt only.
  options.commit_timeout = absl::Seconds(10);
  options.commit_backoff = absl::Seconds(20);
  TestWorker worker("w1", &cache_, options);
  RecordingSink failed, repeated;
  // Pages cannot be sent, so that the turn's commit is the only one.
  cache_.Fail(FakeCacheClient::kReserve, absl::UnavailableError("down"), 1 << 20);
  cache_.Fail(FakeCacheClient::kCommit, absl::UnavailableError("lost"), 1, /*after=*/true);
  EXPECT_EQ(ErrorReason(worker.Run(Request("t1"), failed)), kReasonCacheUnavailable);
  EXPECT_EQ(Stored().version(), 1u);
  const int64_t computed = worker.engine.computed_tokens();
  ASSERT_OK(worker.Run(Request("t1"), repeated));
  EXPECT_EQ(repeated.tokens, expected[0]);
  EXPECT_EQ(repeated.done().version(), 1u);
  EXPECT_EQ(worker.engine.computed_tokens(), computed);
}

TEST_F(TurnFailureTest, AMemorySessionGoesOnWithoutTheCacheNode) {
  const auto expected = Undisturbed({Request("t1"), Request("t2"), Request("t3"), Request("t4")});
  TestWorker worker("w1", &cache_);
  v1::WorkerGenerateRequest one = Request("t1");
  one.set_durability(v1::MEMORY);
  RecordingSink sinks[4];
  ASSERT_OK(worker.Run(one, sinks[0]));
  worker.WaitForPushes();
  cache_.Fail(FakeCacheClient::kCommit, absl::UnavailableError("down"), 1 << 20);
  cache_.Fail(FakeCacheClient::kReserve, absl::UnavailableError("down"), 1 << 20);
  ASSERT_OK(worker.Run(Request("t2"), sinks[1]));
  ASSERT_OK(worker.Run(Request("t3"), sinks[2]));
  EXPECT_EQ(sinks[2].done().version(), 3u);
  EXPECT_EQ(Stored().version(), 1u);
  worker.WaitForPushes();
  // It must not be evicted now: nobody else has these turns.
  EXPECT_EQ(worker.core.evictor.ScanIdle(absl::ZeroDuration()), 1);
  EXPECT_FALSE(worker.core.evictor.MakeRoom(1000));
  EXPECT_TRUE(worker.Hot());
  // The node is back: the next commit catches up.
  worker.WaitForPushes();
  cache_.Heal();
  ASSERT_OK(worker.Run(Request("t4"), sinks[3]));
  EXPECT_EQ(Stored().version(), 4u);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(sinks[i].tokens, expected[static_cast<size_t>(i)]);
}

TEST_F(TurnFailureTest, TheIdleScanBringsAMemorySessionHome) {
  TestWorker worker("w1", &cache_);
  v1::WorkerGenerateRequest request = Request("t1");
  request.set_durability(v1::MEMORY);
  cache_.Fail(FakeCacheClient::kCommit, absl::UnavailableError("down"), 1 << 20);
  RecordingSink sink;
  ASSERT_OK(worker.Run(request, sink));
  worker.WaitForPushes();
  EXPECT_EQ(Stored().version(), 0u);
  cache_.Heal();
  worker.core.evictor.ScanIdle(absl::InfiniteDuration());
  worker.WaitForPushes();
  EXPECT_EQ(Stored().version(), 1u);
  EXPECT_EQ(Stored().kv_tokens(), 59u);
}

TEST_F(TurnFailureTest, ASessionWithALostAnswerMayLeave) {
  TestWorker worker("w1", &cache_);
  RecordingSink first, failed;
  ASSERT_OK(worker.Run(Request("t1"), first));
  worker.WaitForPushes();
  cache_.Fail(FakeCacheClient::kCommit, absl::UnavailableError("lost"), 1 << 20, /*after=*/true);
  EXPECT_EQ(ErrorReason(worker.Run(Request("t2"), failed)), kReasonCacheUnavailable);
  worker.WaitForPushes();
  worker.core.evictor.ScanIdle(absl::ZeroDuration());
  EXPECT_FALSE(worker.Hot());
  EXPECT_EQ(worker.engine.load().pages_used, 0);
  EXPECT_EQ(Stored().version(), 2u);
}

TEST_F(TurnFailureTest, AStolenSessionIsNotHandedOver) {
  TestWorker worker("w1", &cache_);
  RecordingSink first;
  ASSERT_OK(worker.Run(Request("t1"), first));
  worker.WaitForPushes();
  StealLease("w2");
  ForgetRenewals(worker);
  EXPECT_OK(worker.Offload());
  EXPECT_FALSE(worker.Hot());
  EXPECT_EQ(Holder(), "w2");
}

TEST_F(TurnFailureTest, ARepeatedTurnIsAnsweredFromTheTranscript) {
  TestWorker worker("w1", &cache_);
  RecordingSink first, hot, cold, longer;
  ASSERT_OK(worker.Run(Request("t1"), first));
  const int64_t computed = worker.engine.computed_tokens();
  ASSERT_OK(worker.Run(Resumed(Request("t1"), First(first.tokens, 15)), hot));
  EXPECT_EQ(Joined(First(first.tokens, 15), hot.tokens), first.tokens);
  EXPECT_EQ(hot.done().version(), 1u);
  EXPECT_EQ(hot.done().finish_reason(), v1::LENGTH);
  EXPECT_EQ(hot.done().usage().generated_tokens(), 40u);
  EXPECT_EQ(hot.done().usage().input_tokens(), 20u);
  EXPECT_EQ(worker.engine.computed_tokens(), computed);

  ASSERT_OK(worker.Offload());
  ASSERT_OK(worker.Run(Resumed(Request("t1"), first.tokens), cold));
  EXPECT_THAT(cold.tokens, IsEmpty());
  EXPECT_TRUE(cold.finished());
  EXPECT_FALSE(worker.Hot());
  EXPECT_EQ(Holder(), "");

  std::vector<int32_t> others = first.tokens;
  others[3] ^= 1;
  EXPECT_THAT(worker.Run(Resumed(Request("t1"), others), longer),
              StatusIs(absl::StatusCode::kAborted));
}

class ResumeTest : public TurnFailureTest {
 protected:
  // A worker stands still in the middle of the second turn, 20 tokens in.
  void RunIntoTheSecondTurn(TestWorker& worker) {
    RecordingSink first;
    ASSERT_OK(worker.Run(Request("t1"), first));
    worker.WaitForPushes();
    worker.engine.AllowTokens(20);
    turn_ = std::make_unique<BackgroundTurn>(&worker, Request("t2"));
    worker.engine.WaitUntilStill();
  }
  std::unique_ptr<BackgroundTurn> turn_;
};

TEST_F(ResumeTest, GoesOnFromACheckpoint) {
  const auto expected = Undisturbed({Request("t1"), Request("t2")});
  // The client has fewer tokens than the checkpoint, as many, and more.
  for (const size_t delivered : {0, 3, 16, 20, 30}) {
    SCOPED_TRACE(delivered);
    FakeCacheClient cache;
    TestWorker dead("w1", &cache);
    RecordingSink first;
    ASSERT_OK(dead.Run(Request("t1"), first));
    dead.WaitForPushes();
    dead.engine.AllowTokens(20);
    BackgroundTurn lost(&dead, Request("t2"));
    dead.engine.WaitUntilStill();
    ASSERT_OK(dead.core.push.Push(*dead.core.store.Find({kTenant, kSession})));
    dead.WaitForPushes();
    const v1::Manifest checkpoint = cache.Stored(kTenant, kSession);
    EXPECT_EQ(checkpoint.version(), 1u);
    EXPECT_EQ(checkpoint.committed_tokens(), 60u);
    EXPECT_EQ(checkpoint.tokens_size(), 60 + 20 + 20);
    EXPECT_EQ(checkpoint.kv_tokens(), 60u + 20 + 19);

    TestWorker worker("w2", &cache);
    RecordingSink sink;
    ASSERT_OK(worker.Run(Resumed(Request("t2"), First(expected[1], delivered)), sink));
    EXPECT_EQ(Joined(First(expected[1], delivered), sink.tokens), expected[1]);
    EXPECT_EQ(sink.done().version(), 2u);
    EXPECT_EQ(sink.done().usage().input_tokens(), 20u);
    EXPECT_EQ(sink.done().usage().generated_tokens(), 40u);
    // Without a token after it, the input has to be evaluated for its last logits.
    const size_t reencoded = delivered == 0 ? 19 : delivered > 20 ? delivered - 20 : 0;
    EXPECT_EQ(sink.done().usage().reencoded_tokens(), reencoded);
    EXPECT_EQ(worker.engine.bad_imports(), 0);
    EXPECT_EQ(cache.Stored(kTenant, kSession).last_turn_input_tokens(), 20u);
    // The one that was thought dead wakes up: too late.
    dead.engine.AllowAll();
    EXPECT_THAT(lost.Join(), StatusIs(absl::StatusCode::kAborted));
    EXPECT_EQ(cache.Stored(kTenant, kSession).version(), 2u);
  }
}

TEST_F(ResumeTest, GoesOnWithoutACheckpoint) {
  const auto expected = Undisturbed({Request("t1"), Request("t2")});
  TestWorker::Options options;
  options.checkpoint_tokens = 1000;
  TestWorker dead("w1", &cache_, options);
  cache_.Fail(FakeCacheClient::kReserve, absl::UnavailableError("down"), 1 << 20);
  RunIntoTheSecondTurn(dead);
  TestWorker worker("w2", &cache_);
  RecordingSink sink;
  ASSERT_OK(worker.Run(Resumed(Request("t2"), First(expected[1], 10)), sink));
  EXPECT_EQ(Joined(First(expected[1], 10), sink.tokens), expected[1]);
  EXPECT_EQ(sink.done().restore_source(), v1::RECOMPUTED);
  EXPECT_EQ(sink.done().usage().reencoded_tokens(), 60u + 20 + 10 - 1);
  dead.engine.AllowAll();
  EXPECT_THAT(turn_->Join(), StatusIs(absl::StatusCode::kAborted));
}

TEST_F(ResumeTest, ADraftOfAnotherInputIsCutOff) {
  const auto expected = Undisturbed({Request("t1"), Request("t3")});
  TestWorker dead("w1", &cache_);
  RunIntoTheSecondTurn(dead);
  ASSERT_OK(dead.core.push.Push(*dead.core.store.Find({kTenant, kSession})));
  dead.WaitForPushes();
  TestWorker worker("w2", &cache_);
  v1::WorkerGenerateRequest request = Request("t3");
  request.set_takeover(true);
  RecordingSink sink;
  ASSERT_OK(worker.Run(request, sink));
  EXPECT_EQ(sink.tokens, expected[1]);
  EXPECT_EQ(sink.done().restore_source(), v1::CACHE_NODE);
  EXPECT_EQ(worker.engine.bad_imports(), 0);
  dead.engine.AllowAll();
  EXPECT_THAT(turn_->Join(), StatusIs(absl::StatusCode::kAborted));
}

// The draft of a turn that nobody went on with leaves no trace when the session moves on.
TEST_F(ResumeTest, ADraftThatIsNotTakenUpIsDropped) {
  TestWorker dead("w1", &cache_);
  RunIntoTheSecondTurn(dead);
  ASSERT_OK(dead.core.push.Push(*dead.core.store.Find({kTenant, kSession})));
  dead.WaitForPushes();
  ASSERT_EQ(Stored().tokens_size(), 60 + 20 + 20);
  TestWorker worker("w2", &cache_);
  v1::PrefetchRequest prefetch;
  prefetch.set_tenant(kTenant);
  prefetch.set_session_id(kSession);
  prefetch.set_takeover(true);
  ASSERT_OK(worker.core.runner.Prefetch(prefetch, absl::InfiniteFuture()));
  ASSERT_OK(worker.Offload());
  EXPECT_EQ(Stored().tokens_size(), 60);
  EXPECT_EQ(Stored().kv_tokens(), 60u);
  dead.engine.AllowAll();
  turn_.reset();
}

TEST_F(ResumeTest, ACompleteReplyIsOnlyCommitted) {
  const auto expected = Undisturbed({Request("t1"), Request("t2")});
  for (const bool checkpoint : {true, false}) {
    SCOPED_TRACE(checkpoint);
    FakeCacheClient cache;
    TestWorker dead("w1", &cache);
    RecordingSink first;
    ASSERT_OK(dead.Run(Request("t1"), first));
    dead.WaitForPushes();
    // All 40 tokens are out, but the turn has not ended: the stop is not seen yet.
    dead.engine.AllowTokens(40);
    v1::WorkerGenerateRequest longer = Request("t2", 20, 41);
    BackgroundTurn lost(&dead, longer);
    dead.engine.WaitUntilStill();
    if (checkpoint) {
      ASSERT_OK(dead.core.push.Push(*dead.core.store.Find({kTenant, kSession})));
    }
    dead.WaitForPushes();
    TestWorker worker("w2", &cache);
    RecordingSink sink;
    ASSERT_OK(worker.Run(Resumed(Request("t2"), expected[1]), sink));
    EXPECT_THAT(sink.tokens, IsEmpty());
    EXPECT_EQ(sink.done().finish_reason(), v1::LENGTH);
    EXPECT_EQ(sink.done().usage().generated_tokens(), 40u);
    EXPECT_EQ(cache.Stored(kTenant, kSession).committed_tokens(), 120u);
    dead.engine.AllowAll();
    EXPECT_FALSE(lost.Join().ok());
  }
}

TEST_F(TurnFailureTest, AClientThatLeftKeepsWhatItSaw) {
  const auto expected = Undisturbed({Request("t1")});
  TestWorker worker("w1", &cache_);
  RecordingSink sink;
  sink.max_tokens = 18;
  EXPECT_THAT(worker.Run(Request("t1"), sink), StatusIs(absl::StatusCode::kCancelled));
  const v1::Manifest stored = Stored();
  EXPECT_EQ(stored.version(), 1u);
  EXPECT_EQ(stored.last_finish_reason(), v1::CANCELLED);
  EXPECT_EQ(stored.committed_tokens(), 20 + sink.tokens.size());
  EXPECT_EQ(sink.tokens, First(expected[0], sink.tokens.size()));
  EXPECT_TRUE(worker.Hot());
  EXPECT_EQ(worker.engine.load().running_turns, 0);
}

// The gateway lost the stream to a worker that lives; the worker took it for a client that left.
TEST_F(TurnFailureTest, ATurnCutOffByItsStreamIsReopened) {
  const auto expected = Undisturbed({Request("t1"), Request("t2"), Request("t3")});
  for (const bool same_worker : {true, false}) {
    for (const size_t received : {0, 5, 18, 25}) {
      SCOPED_TRACE(::testing::Message() << same_worker << " " << received);
      FakeCacheClient cache;
      TestWorker one("w1", &cache), two("w2", &cache);
      RecordingSink first, cut, sink, next;
      ASSERT_OK(one.Run(Request("t1"), first));
      cut.max_tokens = 18;
      ASSERT_THAT(one.Run(Request("t2"), cut), StatusIs(absl::StatusCode::kCancelled));
      TestWorker& worker = same_worker ? one : two;
      ASSERT_OK(worker.Run(Resumed(Request("t2"), First(expected[1], received)), sink));
      EXPECT_EQ(Joined(First(expected[1], received), sink.tokens), expected[1]);
      EXPECT_EQ(sink.done().finish_reason(), v1::LENGTH);
      EXPECT_EQ(sink.done().usage().input_tokens(), 20u);
      EXPECT_EQ(sink.done().usage().generated_tokens(), 40u);
      ASSERT_OK(worker.Run(Request("t3"), next));
      EXPECT_EQ(next.tokens, expected[2]);
      EXPECT_EQ(worker.engine.bad_imports(), 0);
    }
  }
}

TEST_F(TurnFailureTest, AClientThatLeftMayForgetTheTurn) {
  const auto expected = Undisturbed({Request("t1"), Request("t3")});
  TestWorker worker("w1", &cache_);
  RecordingSink first, cut, sink;
  ASSERT_OK(worker.Run(Request("t1"), first));
  v1::WorkerGenerateRequest request = Request("t2");
  request.set_discard_on_disconnect(true);
  cut.max_tokens = 18;
  EXPECT_THAT(worker.Run(request, cut), StatusIs(absl::StatusCode::kCancelled));
  EXPECT_EQ(Stored().version(), 1u);
  ASSERT_OK(worker.Run(Request("t3"), sink));
  EXPECT_EQ(sink.tokens, expected[1]);
  worker.FlushPushes();
  EXPECT_EQ(Stored().tokens_size(), 120);
  EXPECT_EQ(Stored().kv_tokens(), 119u);
}

TEST_F(TurnFailureTest, ACancelledTurnFreesItsSession) {
  TestWorker worker("w1", &cache_);
  worker.engine.AllowTokens(5);
  BackgroundTurn turn(&worker, Request("t1"));
  worker.engine.WaitUntilStill();
  turn.control.RequestStop(TurnControl::Stop::kClientGone);
  EXPECT_THAT(turn.Join(), StatusIs(absl::StatusCode::kCancelled));
  EXPECT_EQ(worker.engine.load().running_turns, 0);
  EXPECT_EQ(Stored().committed_tokens(), 20 + turn.sink.tokens.size());
}

TEST_F(TurnFailureTest, OneTurnAtATime) {
  TestWorker worker("w1", &cache_);
  worker.engine.AllowTokens(5);
  BackgroundTurn turn(&worker, Request("t1"));
  worker.engine.WaitUntilStill();
  RecordingSink sink;
  const absl::Status status = worker.Run(Request("t2"), sink);
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kAborted));
  EXPECT_EQ(ErrorReason(status), kReasonSessionBusy);
  worker.engine.AllowAll();
  EXPECT_OK(turn.Join());
}

// The client's next turn may arrive before the thread of the last one is done.
TEST_F(TurnFailureTest, TheNextTurnMayFollowTheLastFrameAtOnce) {
  TestWorker worker("w1", &cache_);
  RecordingSink first, second;
  first.on_write = [&](const v1::GenerateResponse& frame) {
    if (frame.has_done()) {
      EXPECT_OK(worker.Run(Request("t2"), second));
    }
  };
  ASSERT_OK(worker.Run(Request("t1"), first));
  EXPECT_EQ(second.done().version(), 2u);
}

TEST_F(TurnFailureTest, AFailedTurnLeavesTheSessionAsItWas) {
  const auto expected = Undisturbed({Request("t1"), Request("t2")});
  TestWorker worker("w1", &cache_);
  RecordingSink first, failed, sink;
  ASSERT_OK(worker.Run(Request("t1"), first));
  worker.engine.FailNextTurn(absl::InternalError("device"));
  EXPECT_THAT(worker.Run(Request("t2"), failed), StatusIs(absl::StatusCode::kInternal));
  ASSERT_OK(worker.Run(Request("t2"), sink));
  EXPECT_EQ(sink.tokens, expected[1]);
  EXPECT_EQ(sink.done().version(), 2u);
  // Nobody knows how long the failed one waited.
  const auto waits = worker.registry.histogram("lckv_worker_queue_wait_seconds").Collect();
  EXPECT_EQ(waits.histogram.sample_count, 2u);
}

TEST_F(TurnFailureTest, AFullContextIsATypedError) {
  TestWorker::Options options;
  options.engine.max_context = 64;
  TestWorker worker("w1", &cache_, options);
  RecordingSink sink, full;
  ASSERT_OK(worker.Run(Request("t1", 20, 100), sink));
  EXPECT_EQ(sink.done().finish_reason(), v1::CONTEXT);
  EXPECT_EQ(sink.tokens.size(), 44u);
  const absl::Status status = worker.Run(Request("t2"), full);
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kOutOfRange));
  EXPECT_EQ(ErrorReason(status), kReasonContextFull);
}

class PressureTest : public TurnFailureTest {
 protected:
  static v1::WorkerGenerateRequest In(const std::string& session, const std::string& turn) {
    v1::WorkerGenerateRequest request = Request(turn);
    request.set_session_id(session);
    return request;
  }
  // Room for two sessions of 60 tokens.
  static TestWorker::Options Small() {
    TestWorker::Options options;
    options.engine.pool_pages = 8;
    return options;
  }
};

TEST_F(PressureTest, IdleSessionsMakeRoom) {
  TestWorker worker("w1", &cache_, Small());
  for (const char* id : {"a", "b", "c"}) {
    RecordingSink sink;
    ASSERT_OK(worker.Run(In(id, "t1"), sink));
  }
  // The one that was used longest ago went, with all its pages.
  EXPECT_EQ(worker.core.store.Find({kTenant, "a"}), nullptr);
  EXPECT_NE(worker.core.store.Find({kTenant, "b"}), nullptr);
  EXPECT_EQ(cache_.Stored(kTenant, "a").kv_tokens(), 59u);
  EXPECT_EQ(cache_.Holder(kTenant, "a"), "");
  RecordingSink sink;
  ASSERT_OK(worker.Run(In("a", "t2"), sink));
  EXPECT_EQ(sink.done().restore_source(), v1::CACHE_NODE);
}

TEST_F(PressureTest, NoRoomIsATypedError) {
  TestWorker worker("w1", &cache_, Small());
  worker.engine.AllowTokens(2);
  BackgroundTurn a(&worker, In("a", "t1")), b(&worker, In("b", "t1"));
  worker.engine.WaitUntilStill();
  while (worker.engine.load().running_turns < 2) std::this_thread::yield();
  RecordingSink sink;
  const absl::Status status = worker.Run(In("c", "t1"), sink);
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_EQ(ErrorReason(status), kReasonPoolFull);
  EXPECT_TRUE(GetRetryAfter(status).has_value());
  worker.engine.AllowAll();
  EXPECT_OK(a.Join());
  EXPECT_OK(b.Join());
}

TEST_F(PressureTest, ARestoreWithoutRoomIsAnswered) {
  // The restore needs 4 pages and finds 2; so does the turn, which is refused with a hint.
  {
    TestWorker worker("w0", &cache_);
    RecordingSink sink;
    ASSERT_OK(worker.Run(In("c", "t1"), sink));
    ASSERT_OK(worker.core.evictor.Offload({kTenant, "c"}, "offload", absl::InfiniteFuture()));
  }
  TestWorker::Options options;
  options.engine.pool_pages = 6;
  TestWorker worker("w1", &cache_, options);
  worker.engine.AllowTokens(1);
  BackgroundTurn a(&worker, In("a", "t1"));
  worker.engine.WaitUntilStill();
  RecordingSink sink;
  EXPECT_EQ(ErrorReason(worker.Run(In("c", "t2"), sink)), kReasonPoolFull);
  worker.engine.AllowAll();
  EXPECT_OK(a.Join());
}

TEST_F(PressureTest, IdleScanEvictsWhatIsPushed) {
  TestWorker worker("w1", &cache_);
  RecordingSink sink;
  ASSERT_OK(worker.Run(Request("t1"), sink));
  worker.core.evictor.ScanIdle(absl::Hours(1));
  EXPECT_TRUE(worker.Hot());
  worker.WaitForPushes();
  worker.core.evictor.ScanIdle(absl::ZeroDuration());
  EXPECT_FALSE(worker.Hot());
  EXPECT_EQ(worker.engine.load().pages_used, 0);
  EXPECT_EQ(Holder(), "");
}

}  // namespace
}  // namespace lckv::worker
