#include "cache/store/session_store.h"

#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

#include "base/error_info.h"
#include "tests/testing/cache_fixtures.h"
#include "tests/testing/shared_key_value.h"
#include "tests/testing/status_matchers.h"

namespace lckv {
namespace {

using ::lckv::testing::FakeClock;
using ::lckv::testing::kTestPageBytes;
using ::lckv::testing::MakeManifest;
using ::lckv::testing::PageBytes;
using ::lckv::testing::SharedKeyValue;
using ::lckv::testing::StatusIs;
using ::lckv::testing::TempDir;
using ::testing::ElementsAre;

enum class Kind { kMemory, kRocksDb };

constexpr absl::Duration kTtl = absl::Seconds(10);

LeaseRequest By(const std::string& holder) {
  LeaseRequest request;
  request.holder = holder;
  request.ttl = kTtl;
  request.create = true;
  return request;
}

// The contract of SessionStore, on both storages.
class SessionStoreTest : public ::testing::TestWithParam<Kind> {
 protected:
  void SetUp() override { Open(100); }

  void Open(size_t max_sessions) {
    store_.reset();
    std::unique_ptr<KeyValue> key_value = MakeMemoryKeyValue(1 << 20);
    if (GetParam() == Kind::kRocksDb) {
      ASSERT_OK_AND_ASSIGN(key_value, OpenRocksDbKeyValue(dir_.path(), RocksDbOptions()));
    }
    SessionStoreOptions options;
    options.max_sessions = max_sessions;
    options.clock = &clock_;
    ASSERT_OK_AND_ASSIGN(store_, OpenSessionStore(std::move(key_value), options));
  }

  uint64_t AcquireEpoch(const std::string& holder, bool takeover = false) {
    LeaseRequest request = By(holder);
    request.takeover = takeover;
    const absl::StatusOr<Lease> lease = store_->Acquire(name_, request);
    EXPECT_OK(lease);
    return lease.ok() ? lease->epoch : 0;
  }

  absl::StatusOr<CommitOutcome> Commit(v1::Manifest manifest, uint64_t epoch,
                                       const std::vector<uint32_t>& written = {}) {
    manifest.set_epoch(epoch);
    std::vector<std::string> bytes;
    for (uint32_t position : written) bytes.push_back(PageBytes(100 + position));
    std::vector<NewPage> pages;
    for (size_t i = 0; i < written.size(); ++i) pages.push_back({written[i], bytes[i]});
    return store_->Commit(manifest, pages, true);
  }

  v1::Manifest Version(uint64_t version, uint32_t tokens, uint32_t kv_tokens) {
    v1::Manifest manifest = MakeManifest("s", tokens, kv_tokens);
    manifest.set_version(version);
    return manifest;
  }

  TempDir dir_;
  FakeClock clock_;
  const SessionName name_ = {"tenant", "s"};
  std::unique_ptr<SessionStore> store_;
};

void ExpectStale(const absl::Status& status) {
  EXPECT_EQ(status.code(), absl::StatusCode::kAborted) << status;
  EXPECT_EQ(ErrorReason(status), kReasonStaleEpoch);
}

TEST_P(SessionStoreTest, CreatesOnlyWhenAsked) {
  LeaseRequest request = By("w1");
  request.create = false;
  EXPECT_THAT(store_->Acquire(name_, request), StatusIs(absl::StatusCode::kNotFound));
  request.create = true;
  request.encode.set_passes(12);
  request.durability = v1::MEMORY;
  ASSERT_OK_AND_ASSIGN(const Lease lease, store_->Acquire(name_, request));
  EXPECT_TRUE(lease.created);
  EXPECT_EQ(lease.manifest.version(), 0u);
  EXPECT_EQ(lease.manifest.epoch(), lease.epoch);
  EXPECT_EQ(lease.manifest.encode().passes(), 12u);
  EXPECT_EQ(lease.manifest.durability(), v1::MEMORY);
  ASSERT_OK_AND_ASSIGN(const Lease again, store_->Acquire(name_, request));
  EXPECT_FALSE(again.created);
  EXPECT_EQ(store_->session_count(), 1u);
}

TEST_P(SessionStoreTest, AHeldLeaseIsRefusedToOthers) {
  AcquireEpoch("w1");
  clock_.Advance(absl::Seconds(4));
  const absl::Status status = store_->Acquire(name_, By("w2")).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kAborted);
  EXPECT_EQ(ErrorReason(status), kReasonLeaseHeld);
  EXPECT_EQ(GetErrorInfo(status)->metadata.at("holder"), "w1");
  EXPECT_EQ(GetRetryAfter(status), absl::Seconds(6));
  EXPECT_EQ(store_->Get(name_)->lease_holder, "w1");
}

TEST_P(SessionStoreTest, AnExpiredLeaseMayBeTaken) {
  const uint64_t first = AcquireEpoch("w1");
  clock_.Advance(kTtl);
  EXPECT_EQ(store_->Get(name_)->lease_holder, "");
  const uint64_t second = AcquireEpoch("w2");
  EXPECT_GT(second, first);
  ExpectStale(store_->Renew(name_, "w1", first, kTtl));
  ExpectStale(Commit(Version(1, 10, 0), first).status());
  EXPECT_OK(Commit(Version(1, 10, 0), second));
}

TEST_P(SessionStoreTest, AnExpiredLeaseThatNobodyTookStillCommits) {
  const uint64_t epoch = AcquireEpoch("w1");
  clock_.Advance(10 * kTtl);
  EXPECT_OK(Commit(Version(1, 10, 0), epoch));
  EXPECT_OK(store_->Renew(name_, "w1", epoch, kTtl));
  EXPECT_EQ(store_->Get(name_)->lease_holder, "w1");
}

TEST_P(SessionStoreTest, RenewalsKeepALease) {
  const uint64_t epoch = AcquireEpoch("w1");
  for (int i = 0; i < 5; ++i) {
    clock_.Advance(kTtl - absl::Seconds(1));
    ASSERT_OK(store_->Renew(name_, "w1", epoch, kTtl));
  }
  EXPECT_THAT(store_->Acquire(name_, By("w2")), StatusIs(absl::StatusCode::kAborted));
  ExpectStale(store_->Renew(name_, "w2", epoch, kTtl));
  ExpectStale(store_->Renew(name_, "w1", epoch + 1, kTtl));
}

TEST_P(SessionStoreTest, TakeoverFencesTheHolder) {
  const uint64_t first = AcquireEpoch("w1");
  const uint64_t second = AcquireEpoch("w2", true);
  EXPECT_GT(second, first);
  ExpectStale(store_->CheckEpoch(name_, first));
  ExpectStale(Commit(Version(1, 10, 0), first).status());
  EXPECT_OK(store_->CheckEpoch(name_, second));
}

TEST_P(SessionStoreTest, TheSameHolderFencesItsFormerSelf) {
  const uint64_t first = AcquireEpoch("w1");
  const uint64_t second = AcquireEpoch("w1");
  EXPECT_GT(second, first);
  ExpectStale(Commit(Version(1, 10, 0), first).status());
}

TEST_P(SessionStoreTest, AReleasedLeaseIsOver) {
  const uint64_t epoch = AcquireEpoch("w1");
  EXPECT_OK(store_->Release(name_, epoch + 1));
  EXPECT_OK(store_->CheckEpoch(name_, epoch));
  EXPECT_OK(store_->Release(name_, epoch));
  EXPECT_OK(store_->Release(name_, epoch));
  EXPECT_EQ(store_->Get(name_)->lease_holder, "");
  ExpectStale(store_->Renew(name_, "w1", epoch, kTtl));
  ExpectStale(Commit(Version(1, 10, 0), epoch).status());
  EXPECT_GT(AcquireEpoch("w2"), epoch);
  EXPECT_OK(store_->Release({"tenant", "unknown"}, 1));
}

TEST_P(SessionStoreTest, EpochsGrowAcrossDeletedSessions) {
  const uint64_t first = AcquireEpoch("w1");
  ASSERT_OK(store_->Delete(name_));
  ExpectStale(Commit(Version(1, 10, 0), first).status());
  EXPECT_GT(AcquireEpoch("w2"), first);
  ExpectStale(Commit(Version(1, 10, 0), first).status());
}

TEST_P(SessionStoreTest, CommitsPublishRecordAndPages) {
  const uint64_t epoch = AcquireEpoch("w1");
  ASSERT_OK_AND_ASSIGN(const CommitOutcome outcome, Commit(Version(1, 40, 40), epoch, {0, 1, 2}));
  EXPECT_EQ(outcome.kv_tokens, 40u);
  EXPECT_THAT(outcome.stored_pages, ElementsAre(0, 1, 2));
  ASSERT_OK_AND_ASSIGN(const SessionView view, store_->Get(name_));
  EXPECT_EQ(view.manifest.version(), 1u);
  EXPECT_EQ(view.transcript_tokens, 40u);
  EXPECT_EQ(view.kv_bytes, 3 * kTestPageBytes);
  for (const v1::PageEntry& page : view.manifest.pages()) {
    std::string bytes(kTestPageBytes, '\0');
    ASSERT_OK(store_->ReadPage(name_, page, absl::MakeSpan(bytes)));
    EXPECT_EQ(bytes, PageBytes(100 + page.index()));
  }
}

TEST_P(SessionStoreTest, SupersededPagesAreDeleted) {
  const uint64_t epoch = AcquireEpoch("w1");
  const v1::Manifest before = Version(1, 40, 40);
  ASSERT_OK(Commit(before, epoch, {0, 1, 2}));
  ASSERT_OK_AND_ASSIGN(const CommitOutcome outcome, Commit(Version(2, 48, 48), epoch, {2}));
  ASSERT_EQ(outcome.superseded.size(), 1u);
  std::string bytes(kTestPageBytes, '\0');
  EXPECT_THAT(store_->ReadPage(name_, before.pages(2), absl::MakeSpan(bytes)),
              StatusIs(absl::StatusCode::kNotFound));
  EXPECT_OK(store_->ReadPage(name_, before.pages(1), absl::MakeSpan(bytes)));
}

TEST_P(SessionStoreTest, ARepeatedCommitIsTheSameCommit) {
  const uint64_t epoch = AcquireEpoch("w1");
  v1::Manifest turn = Version(1, 40, 40);
  turn.set_last_turn_id("turn-1");
  ASSERT_OK(Commit(turn, epoch, {0, 1, 2}));
  ASSERT_OK_AND_ASSIGN(const CommitOutcome again, Commit(turn, epoch));
  EXPECT_EQ(again.kv_tokens, 40u);
  EXPECT_TRUE(again.superseded.empty());
  EXPECT_EQ(store_->Get(name_)->manifest.version(), 1u);
  EXPECT_EQ(store_->Get(name_)->manifest.last_turn_id(), "turn-1");
}

TEST_P(SessionStoreTest, ARefusedCommitChangesNothing) {
  const uint64_t epoch = AcquireEpoch("w1");
  ASSERT_OK(Commit(Version(1, 40, 40), epoch, {0, 1, 2}));
  const std::string before = store_->Get(name_)->manifest.SerializeAsString();
  ExpectStale(Commit(Version(2, 48, 48), epoch - 1, {2}).status());
  EXPECT_EQ(ErrorReason(Commit(Version(3, 48, 48), epoch, {2}).status()), kReasonVersionConflict);
  EXPECT_EQ(store_->Get(name_)->manifest.SerializeAsString(), before);
}

TEST_P(SessionStoreTest, LostPagesAreForgotten) {
  const uint64_t epoch = AcquireEpoch("w1");
  const v1::Manifest manifest = Version(1, 40, 40);
  ASSERT_OK(Commit(manifest, epoch, {0, 1, 2}));
  v1::PageEntry other = manifest.pages(1);
  other.set_crc32c(other.crc32c() + 1);
  EXPECT_OK(store_->DropPagesFrom(name_, other));
  EXPECT_EQ(store_->Get(name_)->manifest.kv_tokens(), 40u);
  EXPECT_OK(store_->DropPagesFrom(name_, manifest.pages(1)));
  EXPECT_EQ(store_->Get(name_)->manifest.kv_tokens(), 16u);
  std::string bytes(kTestPageBytes, '\0');
  EXPECT_OK(store_->ReadPage(name_, manifest.pages(0), absl::MakeSpan(bytes)));
  for (int i = 1; i < 3; ++i) {
    EXPECT_THAT(store_->ReadPage(name_, manifest.pages(i), absl::MakeSpan(bytes)),
                StatusIs(absl::StatusCode::kNotFound));
  }
  // What a worker still believes to be stored is not.
  ASSERT_OK_AND_ASSIGN(const CommitOutcome outcome, Commit(manifest, epoch));
  EXPECT_EQ(outcome.kv_tokens, 16u);
  EXPECT_OK(store_->DropPagesFrom({"tenant", "unknown"}, manifest.pages(1)));
}

TEST_P(SessionStoreTest, DeleteRemovesEverything) {
  const uint64_t epoch = AcquireEpoch("w1");
  const v1::Manifest manifest = Version(1, 40, 40);
  ASSERT_OK(Commit(manifest, epoch, {0, 1, 2}));
  ASSERT_OK(store_->Delete(name_));
  EXPECT_THAT(store_->Get(name_), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(store_->Delete(name_), StatusIs(absl::StatusCode::kNotFound));
  std::string bytes(kTestPageBytes, '\0');
  EXPECT_THAT(store_->ReadPage(name_, manifest.pages(0), absl::MakeSpan(bytes)),
              StatusIs(absl::StatusCode::kNotFound));
  EXPECT_EQ(store_->session_count(), 0u);
  // Nobody has a lease on what takes its name.
  EXPECT_OK(store_->Acquire(name_, By("w2")));
}

TEST_P(SessionStoreTest, SessionsAreBounded) {
  Open(2);
  EXPECT_OK(store_->Acquire({"tenant", "a"}, By("w")));
  EXPECT_OK(store_->Acquire({"tenant", "b"}, By("w")));
  EXPECT_THAT(store_->Acquire({"tenant", "c"}, By("w")),
              StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_OK(store_->Acquire({"tenant", "a"}, By("w")));
  EXPECT_OK(store_->Delete({"tenant", "a"}));
  EXPECT_OK(store_->Acquire({"tenant", "c"}, By("w")));
}

TEST_P(SessionStoreTest, ListsOneTenantInPages) {
  for (const char* id : {"a", "ab", "b", "c"}) ASSERT_OK(store_->Acquire({"t1", id}, By("w")));
  ASSERT_OK(store_->Acquire({"t", "x"}, By("w")));
  ASSERT_OK(store_->Acquire({"t11", "y"}, By("w")));
  const auto ids = [](const SessionList& list) {
    std::vector<std::string> result;
    for (const SessionView& view : list.sessions) result.push_back(view.manifest.session_id());
    return result;
  };
  ASSERT_OK_AND_ASSIGN(const SessionList first, store_->List("t1", "", 3));
  EXPECT_THAT(ids(first), ElementsAre("a", "ab", "b"));
  ASSERT_OK_AND_ASSIGN(const SessionList second, store_->List("t1", first.next_after, 3));
  EXPECT_THAT(ids(second), ElementsAre("c"));
  EXPECT_EQ(second.next_after, "");
  EXPECT_TRUE(store_->List("t2", "", 3)->sessions.empty());
}

// Many workers fight for one session: every commit that was accepted is there, in order, and no two
// workers ever committed the same version.
TEST_P(SessionStoreTest, ConcurrentCommitsNeverLoseATurn) {
  AcquireEpoch("w0");
  std::vector<std::thread> workers;
  std::vector<std::vector<uint64_t>> accepted(4);
  for (size_t w = 0; w < accepted.size(); ++w) {
    workers.emplace_back([this, w, &accepted] {
      for (int i = 0; i < 30; ++i) {
        LeaseRequest request = By("w" + std::to_string(w));
        request.takeover = true;
        const absl::StatusOr<Lease> lease = store_->Acquire(name_, request);
        ASSERT_OK(lease);
        const uint64_t version = lease->manifest.version() + 1;
        const auto tokens = static_cast<uint32_t>(version);
        const absl::Status status = Commit(Version(version, tokens, 0), lease->epoch).status();
        if (status.ok()) {
          accepted[w].push_back(version);
        } else {
          ExpectStale(status);
        }
      }
    });
  }
  for (std::thread& worker : workers) worker.join();
  std::vector<uint64_t> all;
  for (const auto& versions : accepted) all.insert(all.end(), versions.begin(), versions.end());
  std::sort(all.begin(), all.end());
  for (size_t i = 0; i < all.size(); ++i) EXPECT_EQ(all[i], i + 1);
  EXPECT_EQ(store_->Get(name_)->manifest.version(), all.size());
}

class ConcurrentSessionStoreTest : public SessionStoreTest {};

TEST_P(ConcurrentSessionStoreTest, SessionsDoNotDisturbEachOther) {
  std::vector<std::thread> workers;
  for (int w = 0; w < 4; ++w) {
    workers.emplace_back([this, w] {
      const std::string id = "s" + std::to_string(w);
      const absl::StatusOr<Lease> lease = store_->Acquire({"tenant", id}, By("w"));
      ASSERT_OK(lease);
      for (uint64_t version = 1; version <= 20; ++version) {
        v1::Manifest manifest = MakeManifest(id, static_cast<uint32_t>(version), 0);
        manifest.set_version(version);
        ASSERT_OK(Commit(manifest, lease->epoch));
      }
    });
  }
  for (std::thread& worker : workers) worker.join();
  ASSERT_OK_AND_ASSIGN(const SessionList list, store_->List("tenant", "", 10));
  ASSERT_EQ(list.sessions.size(), 4u);
  for (const SessionView& view : list.sessions) EXPECT_EQ(view.manifest.version(), 20u);
}

INSTANTIATE_TEST_SUITE_P(Both, SessionStoreTest, ::testing::Values(Kind::kMemory, Kind::kRocksDb));
INSTANTIATE_TEST_SUITE_P(Memory, ConcurrentSessionStoreTest, ::testing::Values(Kind::kMemory));
#if !defined(__SANITIZE_THREAD__)
// Debian's RocksDB is not instrumented: TSan does not see how its write groups are handed over.
INSTANTIATE_TEST_SUITE_P(RocksDb, ConcurrentSessionStoreTest, ::testing::Values(Kind::kRocksDb));
#endif

// A stripe that sweeps its leases forgets those that have run out, and no others.
TEST(SessionStoreLeases, LiveLeasesAreNotSwept) {
  constexpr int kSessions = 600;  // more than there are stripes
  FakeClock clock;
  SessionStoreOptions options;
  options.clock = &clock;
  options.leases_before_sweep = 1;
  ASSERT_OK_AND_ASSIGN(const auto store, OpenSessionStore(MakeMemoryKeyValue(0), options));
  const auto acquire = [&](int i, const std::string& holder) {
    return store->Acquire({"tenant", "s" + std::to_string(i)}, By(holder)).status();
  };
  for (int i = 0; i < kSessions; ++i) ASSERT_OK(acquire(i, "w1"));
  for (int i = 0; i < kSessions; ++i) {
    ASSERT_EQ(ErrorReason(acquire(i, "w2")), kReasonLeaseHeld) << i;
  }
  clock.Advance(kTtl);
  for (int i = 0; i < kSessions; ++i) ASSERT_OK(acquire(i, "w2"));
}

// What the store asks of the storage below it.
class SessionStoreWritesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto key_value = std::make_unique<SharedKeyValue>(storage_.get());
    key_value_ = key_value.get();
    SessionStoreOptions options;
    options.max_sessions = 1;
    options.clock = &clock_;
    ASSERT_OK_AND_ASSIGN(store_, OpenSessionStore(std::move(key_value), options));
  }

  FakeClock clock_;
  const SessionName name_ = {"tenant", "s"};
  const std::unique_ptr<KeyValue> storage_ = MakeMemoryKeyValue(1 << 20);
  std::unique_ptr<SessionStore> store_;
  SharedKeyValue* key_value_ = nullptr;
};

TEST_F(SessionStoreWritesTest, WhatWasPromisedIsOnDisk) {
  // A claim of epochs, so that none is given out twice; then the new session.
  ASSERT_OK_AND_ASSIGN(const Lease lease, store_->Acquire(name_, By("w1")));
  EXPECT_THAT(key_value_->TakeSyncs(), ElementsAre(true, true));
  v1::Manifest manifest = MakeManifest("s", 40, 0);
  manifest.set_version(1);
  manifest.set_epoch(lease.epoch);
  ASSERT_OK(store_->Commit(manifest, {}, /*sync=*/true));
  EXPECT_THAT(key_value_->TakeSyncs(), ElementsAre(true));
  ASSERT_OK(store_->Commit(manifest, {}, /*sync=*/false));
  EXPECT_THAT(key_value_->TakeSyncs(), ElementsAre(false));
  // A lease that is lost in a crash costs nothing: the epoch it had is skipped.
  ASSERT_OK(store_->Acquire(name_, By("w1")));
  EXPECT_THAT(key_value_->TakeSyncs(), ElementsAre(false));
  ASSERT_OK(store_->Delete(name_));
  EXPECT_THAT(key_value_->TakeSyncs(), ElementsAre(true));
}

TEST_F(SessionStoreWritesTest, AMemorySessionIsNotSynced) {
  LeaseRequest request = By("w1");
  request.durability = v1::MEMORY;
  ASSERT_OK(store_->Acquire(name_, request));
  EXPECT_THAT(key_value_->TakeSyncs(), ElementsAre(true, false));
}

TEST_F(SessionStoreWritesTest, ASessionThatCouldNotBeWrittenDoesNotCount) {
  ASSERT_OK(store_->Acquire(name_, By("w1")));
  ASSERT_OK(store_->Delete(name_));
  key_value_->FailNextWrite(absl::UnavailableError("disk"));
  EXPECT_THAT(store_->Acquire(name_, By("w1")), StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_EQ(store_->session_count(), 0u);
  EXPECT_OK(store_->Acquire(name_, By("w1")));
}

}  // namespace
}  // namespace lckv
