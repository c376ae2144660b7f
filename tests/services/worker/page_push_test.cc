// Pages on their way to the cache node: what fails, what overtakes them, what they leave behind.

#include <atomic>
#include <future>

#include "tests/services/worker/worker_fixture.h"

namespace lckv::worker {
namespace {

class PagePushTest : public WorkerFixture {
 protected:
  static std::shared_ptr<HotSession> SessionOf(TestWorker& worker) {
    return worker.core.store.Find({kTenant, kSession});
  }
};

TEST_F(PagePushTest, AFailedPushLeavesNoReservationAndIsTriedAgain) {
  TestWorker worker("w1", &cache_);
  cache_.Fail(FakeCacheClient::kWrite, absl::UnavailableError("down"), 1 << 20);
  RecordingSink sink;
  ASSERT_OK(worker.Run(Request("t1"), sink));
  worker.WaitForPushes();
  EXPECT_GT(cache_.calls(FakeCacheClient::kWrite), 0);
  EXPECT_EQ(cache_.core().Stats().reservations, 0u);
  EXPECT_EQ(Stored().kv_tokens(), 0u);
  cache_.Heal();
  EXPECT_EQ(worker.core.evictor.ScanIdle(absl::InfiniteDuration()), 1);
  worker.WaitForPushes();
  EXPECT_EQ(Stored().kv_tokens(), 59u);
  EXPECT_EQ(worker.core.evictor.ScanIdle(absl::InfiniteDuration()), 0);
}

TEST_F(PagePushTest, AskedForWhileItRunsAPushIsMadeAgain) {
  TestWorker worker("w1", &cache_);
  std::atomic<int> writes{0};
  std::promise<void> written, go_on;
  cache_.Before(FakeCacheClient::kWrite, [&] {
    if (writes++ > 0) return;
    written.set_value();
    go_on.get_future().wait();
  });
  RecordingSink first, second;
  ASSERT_OK(worker.Run(Request("t1"), first));
  written.get_future().wait();
  ASSERT_OK(worker.Run(Request("t2"), second));
  go_on.set_value();
  worker.WaitForPushes();
  EXPECT_EQ(Stored().kv_tokens(), 119u);
}

// One page at a time: out, as the engine's exports may be, and in, as its staging may be.
TEST_F(PagePushTest, ALongSessionGoesAndComesInPieces) {
  TestWorker::Options narrow;
  narrow.engine.export_pages = 1;
  narrow.engine.staging_pages = 1;
  narrow.checkpoint_tokens = 1 << 20;
  const std::vector<v1::WorkerGenerateRequest> requests = {Request("t1"), Request("t2"),
                                                           Request("t3")};
  const std::vector<std::vector<int32_t>> expected = Undisturbed(requests);
  for (size_t turn = 0; turn < requests.size(); ++turn) {
    TestWorker worker(absl::StrCat("w", turn), &cache_, narrow);
    RecordingSink sink;
    ASSERT_OK(worker.Run(requests[turn], sink));
    EXPECT_EQ(sink.tokens, expected[turn]);
    EXPECT_EQ(sink.done().usage().reencoded_tokens(), 0u);
    EXPECT_EQ(worker.engine.bad_imports(), 0);
    ASSERT_OK(worker.Offload());
    EXPECT_EQ(Stored().kv_tokens(), 60 * turn + 59);
  }
  EXPECT_EQ(cache_.core().Stats().reservations, 0u);
  // The same content ids as in one piece.
  FakeCacheClient other;
  TestWorker whole("w1", &other);
  for (const v1::WorkerGenerateRequest& request : requests) {
    RecordingSink sink;
    ASSERT_OK(whole.Run(request, sink));
  }
  ASSERT_OK(whole.Offload());
  const v1::Manifest one_piece = other.Stored(kTenant, kSession);
  ASSERT_EQ(Stored().pages_size(), one_piece.pages_size());
  for (int i = 0; i < one_piece.pages_size(); ++i) {
    EXPECT_EQ(Stored().pages(i).content_id(), one_piece.pages(i).content_id()) << i;
  }
}

// While the bytes are on their way the session is cut, leaves, or loses the pages before them.
TEST_F(PagePushTest, WhatWasOvertakenIsNotPublished) {
  const std::function<void(TestWorker&)> events[] = {
      [](TestWorker& worker) { EXPECT_OK(worker.core.sync.Cut(*SessionOf(worker), 60)); },
      [](TestWorker& worker) {
        std::optional<SessionClaim> claim =
            worker.core.store.ClaimIdle({kTenant, kSession}, SessionState::kEvicting);
        ASSERT_TRUE(claim.has_value());
        worker.core.evictor.Drop(*claim, "lost");
      },
      [](TestWorker& worker) {
        const std::shared_ptr<HotSession> session = SessionOf(worker);
        MutexLock lock(session->mu);
        session->ForgetPagesFrom(0);
      },
  };
  for (const auto& event : events) {
    FakeCacheClient cache;
    TestWorker::Options options;
    options.checkpoint_tokens = 1000;
    TestWorker worker("w1", &cache, options);
    RecordingSink first, second;
    ASSERT_OK(worker.Run(Request("t1"), first));
    worker.WaitForPushes();
    cache.Fail(FakeCacheClient::kReserve, absl::UnavailableError("down"), 1 << 20);
    ASSERT_OK(worker.Run(Request("t2"), second));
    worker.WaitForPushes();
    cache.Heal();
    ASSERT_EQ(cache.Stored(kTenant, kSession).kv_tokens(), 59u);
    std::atomic<int> writes{0};
    cache.Before(FakeCacheClient::kWrite, [&] {
      if (writes++ == 0) event(worker);
    });
    const std::shared_ptr<HotSession> session = SessionOf(worker);
    EXPECT_THAT(worker.core.push.Push(*session), StatusIs(absl::StatusCode::kFailedPrecondition));
    EXPECT_EQ(cache.core().Stats().reservations, 0u);
    EXPECT_EQ(cache.Stored(kTenant, kSession).kv_tokens(), 59u);
  }
}

// Pages that a checkpoint stored of a turn that was then forgotten are replaced.
TEST_F(PagePushTest, PagesOfAForgottenTurnAreReplaced) {
  const auto expected = Undisturbed({Request("t1"), Request("t3"), Request("t4")});
  TestWorker worker("w1", &cache_);
  RecordingSink first, cut, second;
  ASSERT_OK(worker.Run(Request("t1"), first));
  worker.WaitForPushes();
  v1::WorkerGenerateRequest forgotten = Request("t2");
  forgotten.set_discard_on_disconnect(true);
  cut.max_tokens = 5;
  cut.on_write = [&](const v1::GenerateResponse& frame) {
    if (frame.token_ids_size() == 0) return;
    worker.engine.WaitUntilStill();
    EXPECT_OK(worker.core.push.Push(*SessionOf(worker)));
    EXPECT_EQ(Stored().kv_tokens(), 60u + 20 + 16);
    worker.engine.AllowAll();
    cut.on_write = nullptr;
  };
  worker.engine.AllowTokens(17);
  EXPECT_THAT(worker.Run(forgotten, cut), StatusIs(absl::StatusCode::kCancelled));
  worker.WaitForPushes();
  ASSERT_OK(worker.Run(Request("t3"), second));
  EXPECT_EQ(second.tokens, expected[1]);
  ASSERT_OK(worker.Offload());
  EXPECT_EQ(Stored().kv_tokens(), 119u);

  TestWorker next("w2", &cache_);
  RecordingSink sink;
  ASSERT_OK(next.Run(Request("t4"), sink));
  EXPECT_EQ(sink.tokens, expected[2]);
  EXPECT_EQ(next.engine.bad_imports(), 0);
}

// A worker that dies costs its successor at most as many tokens as lie between two checkpoints.
TEST_F(PagePushTest, ARunningTurnIsCheckpointed) {
  TestWorker worker("w1", &cache_);
  const auto await_tokens = [this](int tokens) {
    const absl::Time end = absl::Now() + absl::Seconds(60);
    while (Stored().tokens_size() < tokens && absl::Now() < end) std::this_thread::yield();
    EXPECT_GE(Stored().tokens_size(), tokens);
  };
  worker.engine.AllowTokens(1);
  BackgroundTurn turn(&worker, Request("t1"));
  await_tokens(20 + 1);
  worker.engine.AllowTokens(19);
  await_tokens(20 + 16);
  EXPECT_EQ(Stored().committed_tokens(), 0u);
  worker.engine.AllowAll();
  EXPECT_OK(turn.Join());
}

}  // namespace
}  // namespace lckv::worker
