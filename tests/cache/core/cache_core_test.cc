#include "cache/core/cache_core.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "base/error_info.h"
#include "tests/cache/core/cache_core_fixture.h"

namespace lckv {
namespace {

using ::lckv::testing::kTestPageBytes;
using ::lckv::testing::MakeManifest;
using ::lckv::testing::PageBytes;
using ::lckv::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

using CacheCoreTest = CacheCoreFixture;

std::string BytesOf(const PinnedPage& page) { return {page->bytes().data(), page->bytes().size()}; }

v1::Manifest Version(uint64_t version, uint32_t tokens, uint32_t kv_tokens) {
  v1::Manifest manifest = MakeManifest("s", tokens, kv_tokens);
  manifest.set_version(version);
  return manifest;
}

TEST_F(CacheCoreTest, PagesComeBackFromMemory) {
  MakeStoredSession();
  const v1::AcquireResponse response = Acquire("s", "w2");
  ASSERT_EQ(response.extents_size(), 3);
  ASSERT_EQ(response.manifest().kv_tokens(), 40u);
  ASSERT_EQ(*core_->PageCount(response.read_lease()), 3u);
  for (uint32_t i = 0; i < 3; ++i) {
    EXPECT_EQ(response.extents(static_cast<int>(i)).length(), kTestPageBytes);
    ASSERT_OK_AND_ASSIGN(const PinnedPage page, core_->PinPage(response.read_lease(), i));
    EXPECT_EQ(BytesOf(page), PageBytes(100 + i));
  }
  EXPECT_EQ(observer_.hits, 3);
  EXPECT_EQ(observer_.misses, 0);
}

TEST_F(CacheCoreTest, PagesComeBackFromStorageAfterARestart) {
  MakeStoredSession();
  Restart(16);
  const v1::AcquireResponse response = Acquire();
  ASSERT_OK_AND_ASSIGN(const PinnedPage page, core_->PinPage(response.read_lease(), 2));
  EXPECT_EQ(BytesOf(page), PageBytes(102));
  EXPECT_EQ(observer_.misses, 3);
}

TEST_F(CacheCoreTest, AcquireWithoutPagesPinsNothing) {
  MakeStoredSession();
  v1::AcquireRequest request = AcquireRequest();
  request.set_want_pages(false);
  request.set_lease_ttl_ms(90'000);
  ASSERT_OK_AND_ASSIGN(const v1::AcquireResponse response, core_->Acquire(request));
  EXPECT_EQ(response.read_lease(), 0u);
  EXPECT_EQ(response.extents_size(), 0);
  EXPECT_EQ(response.lease_ttl_ms(), 60'000u);
}

TEST_F(CacheCoreTest, BadAcquiresAreRefused) {
  const std::vector<std::function<void(v1::AcquireRequest&)>> damages = {
      [](auto& r) { r.clear_session_id(); },
      [](auto& r) { r.set_session_id("no spaces"); },
      [](auto& r) { r.clear_worker_id(); },
      [](auto& r) { r.set_worker_id(std::string(129, 'w')); },
      [](auto& r) { r.mutable_encode()->set_passes(65); },
      [](auto& r) { r.mutable_encode()->set_mode(static_cast<v1::EncodePolicy::Mode>(7)); },
      [](auto& r) { r.set_durability(static_cast<v1::Durability>(7)); },
  };
  for (const auto& damage : damages) {
    v1::AcquireRequest request = AcquireRequest();
    damage(request);
    EXPECT_THAT(core_->Acquire(request), StatusIs(absl::StatusCode::kInvalidArgument));
  }
  EXPECT_EQ(core_->Stats().sessions, 0u);
}

TEST_F(CacheCoreTest, ConflictsAreCounted) {
  Acquire();
  v1::AcquireRequest request = AcquireRequest("s", "w2");
  request.set_takeover(false);
  EXPECT_EQ(ErrorReason(core_->Acquire(request).status()), kReasonLeaseHeld);
  EXPECT_EQ(ErrorReason(core_->Reserve(ReserveRequest(1'000'000, 1)).status()), kReasonStaleEpoch);
  EXPECT_EQ(observer_.conflicts, 2);
}

TEST_F(CacheCoreTest, ReservationsAreChecked) {
  const uint64_t epoch = Acquire().epoch();
  EXPECT_THAT(core_->Reserve(ReserveRequest(epoch, 0)),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(core_->Reserve(ReserveRequest(epoch, 70'000)),
              StatusIs(absl::StatusCode::kInvalidArgument));
  v1::ReserveRequest odd = ReserveRequest(epoch, 1);
  odd.set_page_bytes(5000);
  EXPECT_THAT(core_->Reserve(odd), StatusIs(absl::StatusCode::kInvalidArgument));
  const absl::Status full = core_->Reserve(ReserveRequest(epoch, 17)).status();
  EXPECT_EQ(full.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(GetRetryAfter(full).has_value());
}

TEST_F(CacheCoreTest, ChunksStayInsideTheirReservation) {
  const uint64_t epoch = Acquire().epoch();
  ASSERT_OK_AND_ASSIGN(const v1::ReserveResponse reserved,
                       core_->Reserve(ReserveRequest(epoch, 2)));
  const uint64_t id = reserved.reservation();
  EXPECT_OK(core_->WriteChunk(id, 1, kTestPageBytes - 3, "abc"));
  EXPECT_OK(core_->WriteChunk(id, 1, kTestPageBytes, ""));
  for (const auto& [extent, offset] : std::vector<std::pair<uint32_t, uint64_t>>{
           {2, 0}, {~0u, 0}, {1, kTestPageBytes - 2}, {1, kTestPageBytes + 1}, {1, ~uint64_t{0}}}) {
    EXPECT_THAT(core_->WriteChunk(id, extent, offset, "abc"),
                StatusIs(absl::StatusCode::kInvalidArgument))
        << extent << " " << offset;
  }
  EXPECT_THAT(core_->WriteChunk(id + 1, 0, 0, "abc"), StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(CacheCoreTest, WrongBytesAreDataLossAndPublishNothing) {
  const uint64_t epoch = Acquire().epoch();
  v1::CommitRequest request = WritePages(Version(1, 40, 40), epoch, {0, 1, 2});
  ASSERT_OK(core_->WriteChunk(request.reservation(), 1, 77, "X"));
  EXPECT_THAT(core_->Commit(request), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("page 1")));
  EXPECT_EQ(observer_.bad_commits, 1);
  EXPECT_EQ(observer_.refused, 1);
  const v1::AcquireResponse after = Acquire();
  EXPECT_EQ(after.manifest().version(), 0u);
  EXPECT_EQ(core_->Stats().memory_bytes_used, 0u);
}

TEST_F(CacheCoreTest, BadCommitsAreRefusedAndEndTheirReservation) {
  const uint64_t epoch = Acquire().epoch();
  const uint64_t other_epoch = Acquire("other").epoch();
  struct Case {
    const char* what;
    std::function<void(v1::CommitRequest&)> damage;
  };
  const std::vector<Case> cases = {
      {"manifest", [](auto& r) { r.mutable_manifest()->set_kv_tokens(39); }},
      {"page_positions[2]: 3", [](auto& r) { r.set_page_positions(2, 3); }},
      {"ascending", [](auto& r) { r.set_page_positions(1, 0); }},
      {"4 in a reservation of 3",
       [](auto& r) {
         *r.mutable_manifest() = Version(1, 60, 60);
         r.add_page_positions(3);
       }},
      {"another session",
       [&](auto& r) {
         r.mutable_manifest()->set_session_id("other");
         r.mutable_manifest()->set_epoch(other_epoch);
       }},
      {"page_bytes", [](auto& r) { r.mutable_manifest()->set_page_bytes(4096); }},
  };
  for (const Case& bad : cases) {
    v1::CommitRequest request = WritePages(Version(1, 40, 40), epoch, {0, 1, 2});
    bad.damage(request);
    EXPECT_THAT(core_->Commit(request),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(bad.what)));
    EXPECT_EQ(core_->Stats().reservations, 0u) << bad.what;
    EXPECT_EQ(core_->Stats().memory_bytes_used, 0u) << bad.what;
  }
  v1::CommitRequest without = WritePages(Version(1, 40, 40), epoch, {});
  without.add_page_positions(0);
  EXPECT_THAT(core_->Commit(without),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("without a reservation")));
}

TEST_F(CacheCoreTest, ARepeatedCommitFindsItsPagesStored) {
  const uint64_t epoch = Acquire().epoch();
  const v1::CommitRequest request = WritePages(Version(1, 40, 40), epoch, {0, 1, 2});
  ASSERT_OK(core_->Commit(request));
  ASSERT_OK_AND_ASSIGN(const v1::CommitResponse again, core_->Commit(request));
  EXPECT_EQ(again.kv_tokens(), 40u);
}

TEST_F(CacheCoreTest, PagesOfAnExpiredReservationCountAsNotWritten) {
  const uint64_t epoch = MakeStoredSession();
  v1::Manifest longer = Version(2, 60, 60);
  longer.mutable_pages(2)->set_crc32c(testing::CrcOf(PageBytes(102)));
  const v1::CommitRequest request = WritePages(longer, epoch, {2, 3});
  clock_.Advance(absl::Seconds(31));
  core_->DropExpired();
  ASSERT_OK_AND_ASSIGN(const v1::CommitResponse response, core_->Commit(request));
  EXPECT_EQ(response.kv_tokens(), 32u);
  EXPECT_EQ(Acquire().manifest().version(), 2u);
}

TEST_F(CacheCoreTest, ForgottenReservationsGiveTheirMemoryBack) {
  const uint64_t epoch = Acquire().epoch();
  ASSERT_OK_AND_ASSIGN(const v1::ReserveResponse held, core_->Reserve(ReserveRequest(epoch, 16)));
  EXPECT_THAT(core_->Reserve(ReserveRequest(epoch, 1)),
              StatusIs(absl::StatusCode::kResourceExhausted));
  clock_.Advance(absl::Seconds(20));
  ASSERT_OK(core_->WriteChunk(held.reservation(), 0, 0, "x"));
  clock_.Advance(absl::Seconds(20));
  core_->DropExpired();
  EXPECT_EQ(core_->Stats().reservations, 1u);
  clock_.Advance(absl::Seconds(11));
  EXPECT_OK(core_->Reserve(ReserveRequest(epoch, 16)));
  EXPECT_THAT(core_->WriteChunk(held.reservation(), 0, 0, "x"),
              StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(CacheCoreTest, ForgottenReadLeasesUnpin) {
  MakeStoredSession();
  const v1::AcquireResponse response = Acquire();
  clock_.Advance(absl::Seconds(29));
  EXPECT_OK(core_->PinPage(response.read_lease(), 0));
  clock_.Advance(absl::Seconds(29));
  core_->DropExpired();
  EXPECT_OK(core_->PinPage(response.read_lease(), 0));
  clock_.Advance(absl::Seconds(30));
  core_->DropExpired();
  EXPECT_EQ(core_->Stats().read_leases, 0u);
  EXPECT_THAT(core_->PinPage(response.read_lease(), 0), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(core_->PageCount(response.read_lease()), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_OK(core_->Reserve(ReserveRequest(response.epoch(), 16)));
}

TEST_F(CacheCoreTest, HandlesAreBounded) {
  const uint64_t epoch = MakeStoredSession();
  for (int i = 0; i < 8; ++i) ASSERT_OK(core_->Reserve(ReserveRequest(epoch, 1)));
  EXPECT_THAT(core_->Reserve(ReserveRequest(epoch, 1)),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("too many")));
  for (int i = 0; i < 8; ++i) EXPECT_NE(Acquire().read_lease(), 0u);
  // The lease is granted all the same; the pages have to be computed.
  const v1::AcquireResponse ninth = Acquire();
  EXPECT_EQ(ninth.read_lease(), 0u);
  ASSERT_EQ(ninth.extents_size(), 3);
  EXPECT_EQ(ninth.extents(0).length(), 0u);
}

TEST_F(CacheCoreTest, ReleaseEndsWhatItNames) {
  const uint64_t epoch = MakeStoredSession();
  const v1::AcquireResponse response = Acquire();
  ASSERT_OK_AND_ASSIGN(const v1::ReserveResponse reserved,
                       core_->Reserve(ReserveRequest(response.epoch(), 1)));
  v1::ReleaseRequest release;
  release.set_tenant("tenant");
  release.set_session_id("s");
  release.set_reservation(reserved.reservation());
  release.set_read_lease(response.read_lease());
  EXPECT_OK(core_->Release(release));
  EXPECT_OK(core_->Release(release));
  EXPECT_EQ(core_->Stats().reservations, 0u);
  EXPECT_EQ(core_->Stats().read_leases, 0u);
  EXPECT_OK(core_->Reserve(ReserveRequest(response.epoch(), 1)));
  release.set_epoch(epoch);
  EXPECT_OK(core_->Release(release));
  EXPECT_OK(core_->Reserve(ReserveRequest(response.epoch(), 1)));
  release.set_epoch(response.epoch());
  EXPECT_OK(core_->Release(release));
  EXPECT_EQ(ErrorReason(core_->Reserve(ReserveRequest(response.epoch(), 1)).status()),
            kReasonStaleEpoch);
}

TEST_F(CacheCoreTest, ADamagedStoredPageIsDroppedWithAllAfterIt) {
  const uint64_t epoch = MakeStoredSession();
  (void)epoch;
  const v1::Manifest manifest = Version(1, 40, 40);
  const std::string key = PageKeyOf({"tenant", "s"}, manifest.pages(1));
  std::string damaged = *storage_->Get(Table::kPages, key);
  damaged[4000] = static_cast<char>(damaged[4000] ^ 4);
  WriteBatch batch;
  batch.Put(Table::kPages, key, damaged);
  ASSERT_OK(storage_->Write(batch, true));
  Restart(16);

  const v1::AcquireResponse response = Acquire();
  ASSERT_EQ(response.extents_size(), 3);
  EXPECT_EQ(response.extents(0).length(), kTestPageBytes);
  EXPECT_EQ(response.extents(1).length(), 0u);
  EXPECT_EQ(response.extents(2).length(), 0u);
  EXPECT_OK(core_->PinPage(response.read_lease(), 0));
  EXPECT_THAT(core_->PinPage(response.read_lease(), 1), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_EQ(observer_.bad_loads, 1);

  // The record no longer claims it, and a page computed again takes its place.
  EXPECT_EQ(Acquire().manifest().kv_tokens(), 16u);
  const uint64_t now = Acquire().epoch();
  ASSERT_OK_AND_ASSIGN(const v1::CommitResponse healed,
                       core_->Commit(WritePages(manifest, now, {1, 2})));
  EXPECT_EQ(healed.kv_tokens(), 40u);
  Restart(16);
  EXPECT_EQ(Acquire().extents(2).length(), kTestPageBytes);
}

TEST_F(CacheCoreTest, AMissingStoredPageIsDroppedLikewise) {
  MakeStoredSession();
  WriteBatch batch;
  batch.Delete(Table::kPages, PageKeyOf({"tenant", "s"}, Version(1, 40, 40).pages(0)));
  ASSERT_OK(storage_->Write(batch, true));
  Restart(16);
  const v1::AcquireResponse response = Acquire();
  EXPECT_EQ(response.read_lease(), 0u);
  EXPECT_EQ(response.extents(0).length(), 0u);
  EXPECT_EQ(observer_.bad_loads, 0);
  EXPECT_EQ(Acquire().manifest().kv_tokens(), 0u);
}

TEST_F(CacheCoreTest, ASessionLargerThanTheArenaComesInPart) {
  MakeStoredSession();
  Restart(2);
  const v1::AcquireResponse response = Acquire();
  EXPECT_EQ(response.extents(1).length(), kTestPageBytes);
  EXPECT_EQ(response.extents(2).length(), 0u);
  // Nothing was lost: with the room there, all of it comes.
  Restart(3);
  EXPECT_EQ(Acquire().extents(2).length(), kTestPageBytes);
}

TEST_F(CacheCoreTest, MemoryIsSharedByEviction) {
  for (int i = 0; i < 10; ++i) MakeStoredSession("s" + std::to_string(i));
  EXPECT_GT(observer_.evictions, 0);
  EXPECT_LE(core_->Stats().memory_bytes_used, 16 * kTestPageBytes);
  for (int i = 0; i < 10; ++i) {
    const v1::AcquireResponse response = Acquire("s" + std::to_string(i));
    ASSERT_OK_AND_ASSIGN(const PinnedPage page, core_->PinPage(response.read_lease(), 1));
    EXPECT_EQ(BytesOf(page), PageBytes(101));
    v1::ReleaseRequest release;
    release.set_read_lease(response.read_lease());
    ASSERT_OK(core_->Release(release));
  }
}

TEST_F(CacheCoreTest, PrefetchBringsPagesIntoMemory) {
  MakeStoredSession();
  Restart(16);
  v1::TouchRequest touch;
  touch.set_tenant("tenant");
  touch.set_session_id("s");
  EXPECT_OK(core_->Touch(touch));
  EXPECT_EQ(core_->Stats().memory_bytes_used, 0u);
  touch.set_prefetch(true);
  EXPECT_OK(core_->Touch(touch));
  EXPECT_EQ(core_->Stats().memory_bytes_used, 3 * kTestPageBytes);
  EXPECT_EQ(observer_.misses, 3);
  Acquire();
  EXPECT_EQ(observer_.hits, 3);
  touch.set_session_id("unknown");
  EXPECT_THAT(core_->Touch(touch), StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(CacheCoreTest, SupersededPagesFreeTheirMemory) {
  const uint64_t epoch = MakeStoredSession();
  v1::Manifest longer = Version(2, 48, 48);
  ASSERT_OK(core_->Commit(WritePages(longer, epoch, {2})));
  EXPECT_EQ(core_->Stats().memory_bytes_used, 3 * kTestPageBytes);
}

TEST_F(CacheCoreTest, DeletedSessionsFreeTheirMemory) {
  MakeStoredSession();
  v1::DeleteRequest request;
  request.set_tenant("tenant");
  request.set_session_id("s");
  EXPECT_OK(core_->Delete(request));
  EXPECT_EQ(core_->Stats().memory_bytes_used, 0u);
  EXPECT_EQ(core_->Stats().sessions, 0u);
  EXPECT_THAT(core_->Delete(request), StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(CacheCoreTest, StatAndListTellWhatIsThere) {
  MakeStoredSession("a");
  MakeStoredSession("b");
  v1::StatRequest stat;
  stat.set_tenant("tenant");
  stat.set_session_id("a");
  ASSERT_OK_AND_ASSIGN(v1::StatResponse seen, core_->Stat(stat));
  EXPECT_EQ(seen.manifest().tokens_size(), 0);
  EXPECT_EQ(seen.transcript_tokens(), 40u);
  EXPECT_EQ(seen.lease_holder(), "w1");
  EXPECT_EQ(seen.kv_bytes(), 3 * kTestPageBytes);
  stat.set_with_tokens(true);
  EXPECT_EQ(core_->Stat(stat)->manifest().tokens_size(), 40);

  v1::ListRequest list;
  list.set_tenant("tenant");
  list.set_page_size(1);
  ASSERT_OK_AND_ASSIGN(const v1::ListResponse first, core_->List(list));
  ASSERT_EQ(first.sessions_size(), 1);
  EXPECT_EQ(first.sessions(0).manifest().session_id(), "a");
  EXPECT_EQ(first.sessions(0).transcript_tokens(), 40u);
  list.set_page_token(first.next_page_token());
  list.set_page_size(0);
  ASSERT_OK_AND_ASSIGN(const v1::ListResponse rest, core_->List(list));
  ASSERT_EQ(rest.sessions_size(), 1);
  EXPECT_EQ(rest.sessions(0).manifest().session_id(), "b");
  EXPECT_EQ(rest.next_page_token(), "");
  list.set_page_token("not a token");
  EXPECT_THAT(core_->List(list), StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(CacheCoreTest, TenantsDoNotSeeEachOther) {
  MakeStoredSession();
  v1::StatRequest stat;
  stat.set_session_id("s");
  for (const char* tenant : {"", "other", "tenant2"}) {
    stat.set_tenant(tenant);
    EXPECT_THAT(core_->Stat(stat), StatusIs(absl::StatusCode::kNotFound)) << tenant;
  }
}

TEST_F(CacheCoreTest, CommitsAreSyncedAndTimedWhenAsked) {
  const uint64_t epoch = Acquire().epoch();
  key_value_->TakeSyncs();
  v1::CommitRequest request = WritePages(Version(1, 40, 0), epoch, {});
  request.set_sync(false);
  ASSERT_OK(core_->Commit(request));
  EXPECT_THAT(key_value_->TakeSyncs(), ElementsAre(false));
  EXPECT_EQ(observer_.syncs, 0);
  request.set_sync(true);
  ASSERT_OK(core_->Commit(request));
  EXPECT_THAT(key_value_->TakeSyncs(), ElementsAre(true));
  EXPECT_EQ(observer_.syncs, 1);
  EXPECT_EQ(observer_.commits, 2);
}

}  // namespace
}  // namespace lckv
