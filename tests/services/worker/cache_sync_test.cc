// What a worker knows of the cache node's copy of its sessions: leases, lost answers, lost pages.

#include <atomic>

#include "tests/services/worker/worker_fixture.h"
#include "tests/testing/cache_fixtures.h"

namespace lckv::worker {
namespace {

using ::lckv::testing::CrcOf;
using ::lckv::testing::FakeClock;

class CacheSyncTest : public WorkerFixture {
 protected:
  // The same version again, without pages.
  void DropPages(uint64_t epoch) {
    v1::CommitRequest request;
    *request.mutable_manifest() = Stored();
    request.mutable_manifest()->set_epoch(epoch);
    request.mutable_manifest()->clear_pages();
    request.mutable_manifest()->set_kv_tokens(0);
    EXPECT_OK(cache_.core().Commit(request));
  }
  // The same version again, with other bytes in its first page.
  void ReplaceFirstPage(uint64_t epoch) {
    v1::CommitRequest request;
    *request.mutable_manifest() = Stored();
    request.mutable_manifest()->set_epoch(epoch);
    const std::string bytes(request.manifest().page_bytes(), 'x');
    v1::ReserveRequest reserve;
    reserve.set_tenant(kTenant);
    reserve.set_session_id(kSession);
    reserve.set_epoch(epoch);
    reserve.set_pages(1);
    reserve.set_page_bytes(bytes.size());
    const absl::StatusOr<v1::ReserveResponse> reserved = cache_.core().Reserve(reserve);
    ASSERT_OK(reserved);
    ASSERT_OK(cache_.core().WriteChunk(reserved->reservation(), 0, 0, bytes));
    request.set_reservation(reserved->reservation());
    request.add_page_positions(0);
    request.mutable_manifest()->mutable_pages(0)->set_crc32c(CrcOf(bytes));
    EXPECT_OK(cache_.core().Commit(request));
  }
  static std::shared_ptr<HotSession> SessionOf(TestWorker& worker) {
    return worker.core.store.Find({kTenant, kSession});
  }
  static uint64_t EpochOf(TestWorker& worker) {
    const std::shared_ptr<HotSession> session = SessionOf(worker);
    MutexLock lock(session->mu);
    return session->epoch;
  }
  // The cold session goes on as if nothing had happened, and without computing anything again.
  void ExpectWhole(const v1::WorkerGenerateRequest& request, const std::vector<int32_t>& reply) {
    TestWorker worker("next", &cache_);
    RecordingSink sink;
    ASSERT_OK(worker.Run(request, sink));
    EXPECT_EQ(sink.tokens, reply);
    EXPECT_EQ(sink.done().usage().reencoded_tokens(), 0u);
    EXPECT_EQ(worker.engine.bad_imports(), 0);
  }
};

TEST_F(CacheSyncTest, TurnsOfDurableSessionsAreSynced) {
  TestWorker worker("w1", &cache_);
  RecordingSink first, second;
  ASSERT_OK(worker.Run(Request("t1"), first));
  ASSERT_OK(worker.Run(Request("t2"), second));
  worker.FlushPushes();
  EXPECT_EQ(cache_.synced_commits(), 2) << "one a turn, none for pages";
}

TEST_F(CacheSyncTest, TurnsOfMemorySessionsAreNot) {
  TestWorker worker("w1", &cache_);
  v1::WorkerGenerateRequest request = Request("t1");
  request.set_durability(v1::MEMORY);
  RecordingSink sink;
  ASSERT_OK(worker.Run(request, sink));
  worker.FlushPushes();
  EXPECT_EQ(cache_.synced_commits(), 0);
}

TEST_F(CacheSyncTest, ATurnRenewsALeaseThatIsAThirdOld) {
  FakeClock clock;
  TestWorker::Options options;
  options.clock = &clock;
  TestWorker worker("w1", &cache_, options);
  RecordingSink sinks[3];
  ASSERT_OK(worker.Run(Request("t1"), sinks[0]));
  clock.Advance(absl::Seconds(3));
  ASSERT_OK(worker.Run(Request("t2"), sinks[1]));
  EXPECT_EQ(cache_.calls(FakeCacheClient::kRenew), 0);
  clock.Advance(absl::Seconds(1));
  ASSERT_OK(worker.Run(Request("t3"), sinks[2]));
  EXPECT_EQ(cache_.calls(FakeCacheClient::kRenew), 1);
}

TEST_F(CacheSyncTest, WithoutTheNodeALeaseLastsUntilItRunsOut) {
  for (const v1::Durability durability : {v1::DURABLE, v1::MEMORY}) {
    FakeCacheClient cache;
    FakeClock clock;
    TestWorker::Options options;
    options.clock = &clock;
    TestWorker worker("w1", &cache, options);
    v1::WorkerGenerateRequest request = Request("t1");
    request.set_durability(durability);
    RecordingSink first, second, third;
    ASSERT_OK(worker.Run(request, first));
    cache.Fail(FakeCacheClient::kRenew, absl::UnavailableError("down"), 1 << 20);
    clock.Advance(absl::Seconds(9));
    EXPECT_OK(worker.Run(Request("t2"), second));
    clock.Advance(absl::Seconds(2));
    const absl::Status status = worker.Run(Request("t3"), third);
    if (durability == v1::MEMORY) {
      EXPECT_OK(status);
    } else {
      EXPECT_EQ(ErrorReason(status), kReasonCacheUnavailable);
      EXPECT_THAT(third.frames, IsEmpty());
    }
  }
}

TEST_F(CacheSyncTest, PagesThatChangedUnderAnotherLeaseAreSentAgain) {
  const auto expected = Undisturbed({Request("t1"), Request("t2")});
  for (const bool replaced : {false, true}) {
    SCOPED_TRACE(replaced);
    v1::WorkerGenerateRequest requests[] = {Request("t1"), Request("t2")};
    TestWorker worker("w1", &cache_);
    RecordingSink sink;
    ASSERT_OK(worker.Run(requests[0], sink));
    worker.WaitForPushes();
    ASSERT_EQ(Stored().kv_tokens(), 59u);
    const uint64_t epoch = StealLease("thief");
    replaced ? ReplaceFirstPage(epoch) : DropPages(epoch);
    GiveBack(epoch);
    ForgetRenewals(worker);
    ASSERT_OK(worker.Offload());
    EXPECT_EQ(Stored().kv_tokens(), 59u);
    ExpectWhole(requests[1], expected[1]);
    v1::DeleteRequest request;
    request.set_tenant(kTenant);
    request.set_session_id(kSession);
    ASSERT_OK(cache_.core().Delete(request));
  }
}

TEST_F(CacheSyncTest, PagesThatTheNodeLostAreSentAgain) {
  const auto expected = Undisturbed({Request("t1"), Request("t2"), Request("t3")});
  TestWorker worker("w1", &cache_);
  RecordingSink first, second;
  ASSERT_OK(worker.Run(Request("t1"), first));
  worker.WaitForPushes();
  DropPages(EpochOf(worker));
  ASSERT_OK(worker.Run(Request("t2"), second));
  worker.WaitForPushes();
  ASSERT_OK(worker.Offload());
  EXPECT_EQ(Stored().kv_tokens(), 119u);
  ExpectWhole(Request("t3"), expected[2]);
}

TEST_F(CacheSyncTest, ALeaseThatComesBackTakesWhatWasNotPushed) {
  const auto expected = Undisturbed({Request("t1"), Request("t2")});
  TestWorker worker("w1", &cache_);
  cache_.Fail(FakeCacheClient::kReserve, absl::UnavailableError("down"), 1 << 20);
  RecordingSink sink;
  ASSERT_OK(worker.Run(Request("t1"), sink));
  worker.WaitForPushes();
  ASSERT_EQ(Stored().kv_tokens(), 0u);
  cache_.Heal();
  GiveBack(StealLease("thief"));
  ForgetRenewals(worker);
  ASSERT_OK(worker.Offload());
  EXPECT_EQ(Stored().kv_tokens(), 59u);
  ExpectWhole(Request("t2"), expected[1]);
}

// The node is at the version of the head, but with a turn of another worker: what was acknowledged
// here while the node was away is lost.
TEST_F(CacheSyncTest, AnotherTurnOfTheSameVersionStands) {
  const auto expected = Undisturbed({Request("t1"), Request("t9"), Request("t3")});
  TestWorker worker("w1", &cache_), other("w2", &cache_);
  v1::WorkerGenerateRequest request = Request("t1"), theirs = Request("t9");
  request.set_durability(v1::MEMORY);
  theirs.set_takeover(true);
  RecordingSink sinks[4];
  ASSERT_OK(worker.Run(request, sinks[0]));
  worker.WaitForPushes();
  cache_.Fail(FakeCacheClient::kCommit, absl::UnavailableError("down"), 1 << 20);
  cache_.Fail(FakeCacheClient::kReserve, absl::UnavailableError("down"), 1 << 20);
  ASSERT_OK(worker.Run(Request("t2"), sinks[1]));
  worker.WaitForPushes();
  cache_.Heal();
  ASSERT_OK(other.Run(theirs, sinks[2]));
  ASSERT_OK(other.Offload());
  ForgetRenewals(worker);
  ASSERT_OK(worker.Run(Request("t3"), sinks[3]));
  EXPECT_EQ(sinks[3].tokens, expected[2]);
  EXPECT_EQ(sinks[3].done().version(), 3u);
  EXPECT_NE(sinks[3].done().restore_source(), v1::HOT);
}

// A commit is not answered, and before it is repeated another worker commits a turn of its own.
TEST_F(CacheSyncTest, AnUnansweredCommitThatAnotherTurnHasReplacedIsLost) {
  TestWorker::Options options;
  options.commit_timeout = absl::Seconds(60);
  TestWorker worker("w1", &cache_, options), other("w2", &cache_);
  RecordingSink first, lost, won;
  ASSERT_OK(worker.Run(Request("t1"), first));
  worker.WaitForPushes();
  // Pages cannot be sent, so that turns' commits are the only ones.
  cache_.Fail(FakeCacheClient::kReserve, absl::UnavailableError("down"), 1 << 20);
  cache_.Fail(FakeCacheClient::kCommit, absl::UnavailableError("down"));
  std::atomic<int> commits{0};
  cache_.Before(FakeCacheClient::kCommit, [&] {
    if (++commits != 2) return;
    v1::WorkerGenerateRequest theirs = Request("t9");
    theirs.set_takeover(true);
    EXPECT_OK(other.Run(theirs, won));
    GiveBack(EpochOf(other));
  });
  EXPECT_EQ(ErrorReason(worker.Run(Request("t2"), lost)), kReasonStaleEpoch);
  EXPECT_FALSE(lost.finished());
  EXPECT_FALSE(worker.Hot());
  EXPECT_EQ(Stored().last_turn_id(), "t9");
  EXPECT_EQ(Stored().version(), 2u);
}

}  // namespace
}  // namespace lckv::worker
