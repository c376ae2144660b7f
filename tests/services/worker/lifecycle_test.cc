// Leases, load reports, and the end of a worker.

#include <latch>

#include "services/worker/drainer.h"
#include "services/worker/turn_desk.h"
#include "tests/services/worker/worker_fixture.h"
#include "tests/testing/cache_fixtures.h"

namespace lckv::worker {
namespace {

using ::lckv::testing::FakeClock;

class LeaseKeeperTest : public WorkerFixture {
 protected:
  LeaseKeeperTest() {
    TestWorker::Options options;
    options.clock = &clock_;
    worker_ = std::make_unique<TestWorker>("w1", &cache_, options);
    RecordingSink sink;
    EXPECT_OK(worker_->Run(Request("t1"), sink));
    worker_->WaitForPushes();
  }
  // Another worker takes the session and gives it back, having run a turn or not.
  void Intrude(bool with_turn) {
    TestWorker other("w2", &cache_);
    v1::PrefetchRequest prefetch;
    prefetch.set_tenant(kTenant);
    prefetch.set_session_id(kSession);
    prefetch.set_takeover(true);
    ASSERT_OK(other.core.runner.Prefetch(prefetch, absl::InfiniteFuture()));
    RecordingSink sink;
    if (with_turn) {
      ASSERT_OK(other.Run(Request("t2"), sink));
    }
    ASSERT_OK(other.Offload());
  }

  FakeClock clock_;
  std::unique_ptr<TestWorker> worker_;
};

TEST_F(LeaseKeeperTest, RenewsWhenAThirdHasPassed) {
  worker_->core.lease_keeper.RenewDue();
  EXPECT_EQ(cache_.calls(FakeCacheClient::kRenew), 0);
  clock_.Advance(absl::Seconds(4));
  worker_->core.lease_keeper.RenewDue();
  worker_->core.lease_keeper.RenewDue();
  EXPECT_EQ(cache_.calls(FakeCacheClient::kRenew), 1);
}

TEST_F(LeaseKeeperTest, DropsASessionThatWentOnElsewhere) {
  Intrude(/*with_turn=*/true);
  clock_.Advance(absl::Seconds(4));
  worker_->core.lease_keeper.RenewDue();
  EXPECT_FALSE(worker_->Hot());
  EXPECT_EQ(worker_->engine.load().open_sessions, 0);
  EXPECT_EQ(Stored().version(), 2u);
}

TEST_F(LeaseKeeperTest, TakesAnUnchangedSessionBack) {
  Intrude(/*with_turn=*/false);
  clock_.Advance(absl::Seconds(4));
  worker_->core.lease_keeper.RenewDue();
  EXPECT_TRUE(worker_->Hot());
  EXPECT_EQ(Holder(), "w1");
}

TEST_F(LeaseKeeperTest, AnUnreachableNodeChangesNothing) {
  cache_.Fail(FakeCacheClient::kRenew, absl::UnavailableError("down"), 1);
  clock_.Advance(absl::Seconds(4));
  worker_->core.lease_keeper.RenewDue();
  EXPECT_TRUE(worker_->Hot());
  worker_->core.lease_keeper.RenewDue();
  EXPECT_EQ(cache_.calls(FakeCacheClient::kRenew), 2);
}

TEST_F(LeaseKeeperTest, RenewsSoManyAtATime) {
  for (const char* id : {"s2", "s3"}) {
    v1::WorkerGenerateRequest request = Request("t1");
    request.set_session_id(id);
    RecordingSink sink;
    ASSERT_OK(worker_->Run(request, sink));
  }
  LeaseKeeper::Options options;
  options.batch = 2;
  LeaseKeeper keeper(&worker_->core.store, &worker_->core.sync, &worker_->core.evictor, options,
                     &clock_);
  clock_.Advance(absl::Seconds(4));
  keeper.RenewDue();
  EXPECT_EQ(cache_.calls(FakeCacheClient::kRenew), 2);
  keeper.RenewDue();
  EXPECT_EQ(cache_.calls(FakeCacheClient::kRenew), 3);
}

std::vector<std::string> Ids(const google::protobuf::RepeatedPtrField<v1::SessionKey>& keys) {
  std::vector<std::string> ids;
  for (const v1::SessionKey& key : keys) ids.push_back(key.session_id());
  std::sort(ids.begin(), ids.end());
  return ids;
}

TEST(LoadBoardTest, FirstTheListThenTheChanges) {
  LoadBoard board;
  board.OnHot({"t", "a"});
  board.OnHot({"t", "b"});
  LoadBoard::Cursor cursor;
  v1::LoadReport first, second, third;
  board.Fill(&cursor, &first);
  EXPECT_TRUE(first.full_list());
  EXPECT_EQ(Ids(first.hot_sessions()), (std::vector<std::string>{"a", "b"}));
  board.OnDropped({"t", "a"});
  board.OnHot({"t", "c"});
  board.OnHot({"t", "d"});
  board.OnDropped({"t", "d"});
  board.Fill(&cursor, &second);
  EXPECT_FALSE(second.full_list());
  EXPECT_EQ(Ids(second.hot_sessions()), std::vector<std::string>{"c"});
  EXPECT_EQ(Ids(second.dropped_sessions()), (std::vector<std::string>{"a", "d"}));
  board.Fill(&cursor, &third);
  EXPECT_EQ(third.hot_sessions_size() + third.dropped_sessions_size(), 0);
}

TEST(LoadBoardTest, AReaderThatMissedTooMuchGetsTheListAgain) {
  LoadBoard board;
  LoadBoard::Cursor cursor;
  v1::LoadReport report;
  board.Fill(&cursor, &report);
  for (size_t i = 0; i <= LoadBoard::kMaxChanges; ++i) {
    board.OnHot({"t", "x"});
    board.OnDropped({"t", "x"});
  }
  board.OnHot({"t", "y"});
  v1::LoadReport again;
  board.Fill(&cursor, &again);
  EXPECT_TRUE(again.full_list());
  EXPECT_EQ(Ids(again.hot_sessions()), std::vector<std::string>{"y"});
}

TEST(TurnDeskTest, BoundsWhatRunsAndWaits) {
  TurnDesk desk(1, 1);
  std::latch gate(1);
  const auto turn = [&gate] { gate.wait(); };
  const auto control = std::make_shared<TurnControl>();
  ASSERT_OK(desk.Submit(control, turn));
  while (desk.running() == 0) std::this_thread::yield();
  const auto waiting = std::make_shared<TurnControl>();
  ASSERT_OK(desk.Submit(waiting, turn));
  const absl::Status full = desk.Submit(control, turn);
  EXPECT_THAT(full, StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_EQ(ErrorReason(full), kReasonQueueFull);
  EXPECT_TRUE(GetRetryAfter(full).has_value());
  EXPECT_FALSE(desk.WaitIdle(absl::Now()));
  desk.Close();
  EXPECT_EQ(ErrorReason(desk.Submit(control, turn)), kReasonDraining);
  EXPECT_EQ(waiting->stop(), TurnControl::Stop::kDraining);
  EXPECT_EQ(control->stop(), TurnControl::Stop::kNone);
  desk.StopAll();
  EXPECT_EQ(control->stop(), TurnControl::Stop::kDraining);
  gate.count_down();
  EXPECT_TRUE(desk.WaitIdle(absl::InfiniteFuture()));
}

class DrainTest : public WorkerFixture {
 protected:
  Drainer::Options Options(absl::Duration turn_grace) {
    Drainer::Options options;
    options.turn_grace = turn_grace;
    return options;
  }
};

TEST_F(DrainTest, IdleSessionsAreHandedOver) {
  const auto expected = Undisturbed({Request("t1"), Request("t2")});
  TestWorker worker("w1", &cache_);
  RecordingSink first, sink;
  ASSERT_OK(worker.Run(Request("t1"), first));
  TurnDesk desk(2, 2);
  int states = 0;
  Drainer drainer(&worker.core, &desk, &worker.board, &worker.metrics,
                  Options(absl::InfiniteDuration()), [&] { ++states; });
  drainer.Start();
  drainer.Start();
  ASSERT_TRUE(drainer.Wait(absl::InfiniteFuture()));
  EXPECT_EQ(states, 1);
  EXPECT_EQ(worker.board.state(), v1::LoadReport::DRAINING);
  EXPECT_TRUE(drainer.progress().done);
  EXPECT_EQ(drainer.progress().sessions_left, 0);
  EXPECT_EQ(Holder(), "");
  TestWorker next("w2", &cache_);
  ASSERT_OK(next.Run(Request("t2"), sink));
  EXPECT_EQ(sink.tokens, expected[1]);
  EXPECT_EQ(sink.done().usage().reencoded_tokens(), 0u);
}

TEST_F(DrainTest, ARunningTurnMoves) {
  const auto expected = Undisturbed({Request("t1"), Request("t2")});
  TestWorker worker("w1", &cache_);
  RecordingSink first, moved, sink;
  ASSERT_OK(worker.Run(Request("t1"), first));
  worker.WaitForPushes();
  // The turn's own checkpoint fails: what is at the node afterwards was pushed by the drain.
  cache_.Fail(FakeCacheClient::kReserve, absl::UnavailableError("down"));
  const int pushes = cache_.calls(FakeCacheClient::kReserve);
  TurnDesk desk(2, 2);
  Drainer drainer(&worker.core, &desk, &worker.board, &worker.metrics,
                  Options(absl::ZeroDuration()), [] {});
  worker.engine.AllowTokens(13);
  const auto control = std::make_shared<TurnControl>();
  absl::Status status;
  ASSERT_OK(desk.Submit(control, [&] { status = worker.Run(Request("t2"), *control, moved); }));
  worker.engine.WaitUntilStill();
  while (cache_.calls(FakeCacheClient::kReserve) == pushes) std::this_thread::yield();
  drainer.Start();
  ASSERT_TRUE(drainer.Wait(absl::InfiniteFuture()));
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_EQ(ErrorReason(status), kReasonDraining);
  EXPECT_EQ(Holder(), "");
  EXPECT_EQ(worker.registry.gauge("lckv_worker_drain_remaining_sessions").Value(), 0);
  EXPECT_EQ(Stored().version(), 1u);
  EXPECT_EQ(Stored().tokens_size(), 60 + 20 + 13);

  TestWorker next("w2", &cache_);
  ASSERT_OK(next.Run(Resumed(Request("t2"), moved.tokens), sink));
  EXPECT_EQ(Joined(moved.tokens, sink.tokens), expected[1]);
  EXPECT_EQ(sink.done().usage().reencoded_tokens(), 0u);
  EXPECT_EQ(sink.done().restore_source(), v1::CACHE_NODE);
}

TEST_F(DrainTest, ARunningTurnMayFinish) {
  TestWorker worker("w1", &cache_);
  TurnDesk desk(2, 2);
  Drainer drainer(&worker.core, &desk, &worker.board, &worker.metrics,
                  Options(absl::InfiniteDuration()), [&] { worker.engine.AllowAll(); });
  worker.engine.AllowTokens(13);
  const auto control = std::make_shared<TurnControl>();
  RecordingSink sink;
  absl::Status status;
  ASSERT_OK(desk.Submit(control, [&] { status = worker.Run(Request("t1"), *control, sink); }));
  worker.engine.WaitUntilStill();
  drainer.Start();
  ASSERT_TRUE(drainer.Wait(absl::InfiniteFuture()));
  EXPECT_OK(status);
  EXPECT_TRUE(sink.finished());
  EXPECT_EQ(Stored().kv_tokens(), 59u);
  EXPECT_EQ(Holder(), "");
}

}  // namespace
}  // namespace lckv::worker
