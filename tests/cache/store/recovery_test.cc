// What is left after the process, the machine or a disk sector went away.

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "base/error_info.h"
#include "cache/store/lease_record.h"
#include "cache/store/session_store.h"
#include "tests/testing/cache_fixtures.h"
#include "tests/testing/status_matchers.h"

namespace lckv {
namespace {

namespace fs = std::filesystem;
using ::lckv::testing::FakeClock;
using ::lckv::testing::kTestPageBytes;
using ::lckv::testing::MakeManifest;
using ::lckv::testing::PageBytes;
using ::lckv::testing::StatusIs;
using ::lckv::testing::TempDir;

class RecoveryTest : public ::testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<SessionStore>> Open(
      const std::string& path, const RocksDbOptions& rocks_db = RocksDbOptions()) {
    LCKV_ASSIGN_OR_RETURN(std::unique_ptr<KeyValue> key_value, OpenRocksDbKeyValue(path, rocks_db));
    SessionStoreOptions options;
    options.clock = &clock_;
    return OpenSessionStore(std::move(key_value), options);
  }

  absl::StatusOr<Lease> Acquire(SessionStore& store, const std::string& id) {
    LeaseRequest request;
    request.holder = "w1";
    request.ttl = absl::Seconds(10);
    request.create = true;
    return store.Acquire({"tenant", id}, request);
  }

  // One more turn, with one page; synced.
  absl::Status CommitTurn(SessionStore& store, const std::string& id, uint64_t epoch,
                          uint64_t version, uint32_t page_seed = 100) {
    v1::Manifest manifest = MakeManifest(id, static_cast<uint32_t>(version), 1, page_seed);
    manifest.set_version(version);
    manifest.set_epoch(epoch);
    const std::string page = PageBytes(page_seed);
    return store.Commit(manifest, {{0, page}}, true).status();
  }

  // The files as they are now, as after kill -9: nothing was closed or flushed.
  std::string Snapshot(const std::string& name) {
    const std::string copy = dir_.path() + "/" + name;
    fs::copy(data_, copy, fs::copy_options::recursive);
    fs::remove(copy + "/LOCK");
    return copy;
  }

  static fs::path NewestLog(const std::string& path) {
    fs::path newest;
    for (const auto& entry : fs::directory_iterator(path)) {
      if (entry.path().extension() == ".log" && entry.path() > newest) newest = entry.path();
    }
    return newest;
  }

  TempDir dir_;
  FakeClock clock_;
  const std::string data_ = dir_.path() + "/data";
};

TEST_F(RecoveryTest, ReopenedStoreHasSessionsAndEpochs) {
  uint64_t epoch = 0;
  {
    ASSERT_OK_AND_ASSIGN(const auto store, Open(data_));
    ASSERT_OK_AND_ASSIGN(const Lease lease, Acquire(*store, "s"));
    epoch = lease.epoch;
    ASSERT_OK(CommitTurn(*store, "s", epoch, 1));
  }
  ASSERT_OK_AND_ASSIGN(const auto store, Open(data_));
  EXPECT_EQ(store->session_count(), 1u);
  ASSERT_OK_AND_ASSIGN(const SessionView view, store->Get({"tenant", "s"}));
  EXPECT_EQ(view.manifest.version(), 1u);
  EXPECT_EQ(view.lease_holder, "");
  std::string page(kTestPageBytes, '\0');
  ASSERT_OK(store->ReadPage({"tenant", "s"}, view.manifest.pages(0), absl::MakeSpan(page)));
  EXPECT_EQ(page, PageBytes(100));

  // The worker that had the lease goes on; a new lease has a larger epoch and fences it.
  EXPECT_OK(CommitTurn(*store, "s", epoch, 2));
  EXPECT_OK(store->Renew({"tenant", "s"}, "w1", epoch, absl::Seconds(10)));
  ASSERT_OK_AND_ASSIGN(const Lease next, Acquire(*store, "s"));
  EXPECT_GT(next.epoch, epoch);
  EXPECT_EQ(ErrorReason(CommitTurn(*store, "s", epoch, 3)), kReasonStaleEpoch);
}

TEST_F(RecoveryTest, AReleasedLeaseStaysReleased) {
  uint64_t epoch = 0;
  {
    ASSERT_OK_AND_ASSIGN(const auto store, Open(data_));
    ASSERT_OK_AND_ASSIGN(const Lease lease, Acquire(*store, "s"));
    epoch = lease.epoch;
    ASSERT_OK(store->Release({"tenant", "s"}, epoch));
  }
  ASSERT_OK_AND_ASSIGN(const auto store, Open(data_));
  EXPECT_EQ(ErrorReason(CommitTurn(*store, "s", epoch, 1)), kReasonStaleEpoch);
}

TEST_F(RecoveryTest, KilledProcessLosesNoAcknowledgedTurn) {
  ASSERT_OK_AND_ASSIGN(const auto store, Open(data_));
  ASSERT_OK_AND_ASSIGN(const Lease lease, Acquire(*store, "s"));
  for (uint64_t version = 1; version <= 20; ++version) {
    ASSERT_OK(CommitTurn(*store, "s", lease.epoch, version));
    if (version % 5 != 0) continue;
    ASSERT_OK_AND_ASSIGN(const auto revived, Open(Snapshot("copy" + std::to_string(version))));
    EXPECT_EQ(revived->Get({"tenant", "s"})->manifest.version(), version);
    ASSERT_OK_AND_ASSIGN(const Lease next, Acquire(*revived, "s"));
    EXPECT_GT(next.epoch, lease.epoch);
  }
}

// The log's tail is cut or damaged at random places: what was acknowledged before the damage is
// there, nothing after it is, each session is whole, and the store opens.
TEST_F(RecoveryTest, TornLogTailIsCutOff) {
  ASSERT_OK_AND_ASSIGN(const auto store, Open(data_));
  std::vector<uint64_t> log_bytes;  // after version i + 1 was acknowledged
  ASSERT_OK_AND_ASSIGN(const Lease lease, Acquire(*store, "s"));
  for (uint64_t version = 1; version <= 30; ++version) {
    ASSERT_OK(CommitTurn(*store, "s", lease.epoch, version));
    log_bytes.push_back(fs::file_size(NewestLog(data_)));
  }
  std::mt19937 rng(3);
  for (int round = 0; round < 24; ++round) {
    const std::string copy = Snapshot("copy" + std::to_string(round));
    const fs::path log = NewestLog(copy);
    const uint64_t damage = log_bytes[0] + rng() % (log_bytes.back() - log_bytes[0]);
    if (round % 2 == 0) {
      fs::resize_file(log, damage);
    } else {
      std::fstream file(log, std::ios::in | std::ios::out | std::ios::binary);
      file.seekg(static_cast<std::streamoff>(damage));
      const int byte = file.get() ^ (1 << rng() % 8);
      file.seekp(static_cast<std::streamoff>(damage));
      file.put(static_cast<char>(byte));
    }
    const auto acknowledged = static_cast<uint64_t>(
        std::upper_bound(log_bytes.begin(), log_bytes.end(), damage) - log_bytes.begin());
    ASSERT_OK_AND_ASSIGN(const auto revived, Open(copy));
    ASSERT_OK_AND_ASSIGN(const SessionView view, revived->Get({"tenant", "s"}));
    EXPECT_EQ(view.manifest.version(), acknowledged) << "damage at " << damage;
    EXPECT_EQ(view.manifest.tokens_size(), static_cast<int>(view.manifest.version()));
    std::string page(kTestPageBytes, '\0');
    EXPECT_OK(revived->ReadPage({"tenant", "s"}, view.manifest.pages(0), absl::MakeSpan(page)));
    EXPECT_EQ(page, PageBytes(100));
    fs::remove_all(copy);
  }
}

// Pages fill their table long before the records do; still all tables reach the same point, so that
// a record never names a page that a lost log had superseded.
TEST_F(RecoveryTest, ALostLogLeavesAllTablesAtOnePoint) {
  RocksDbOptions options;
  options.write_buffer_bytes = 64 << 10;
  uint64_t version = 0;
  // The second opening brings what the first has left in the log into the tables.
  for (const uint64_t last : {1, 100}) {
    ASSERT_OK_AND_ASSIGN(const auto store, Open(data_, options));
    ASSERT_OK_AND_ASSIGN(const Lease lease, Acquire(*store, "s"));
    while (version < last) {
      ++version;
      ASSERT_OK(CommitTurn(*store, "s", lease.epoch, version, static_cast<uint32_t>(version)));
    }
  }
  for (const auto& entry : fs::directory_iterator(data_)) {
    if (entry.path().extension() == ".log") fs::resize_file(entry.path(), 0);
  }
  ASSERT_OK_AND_ASSIGN(const auto store, Open(data_));
  ASSERT_OK_AND_ASSIGN(const SessionView view, store->Get({"tenant", "s"}));
  EXPECT_GT(view.manifest.version(), 1u) << "nothing was flushed";
  std::string page(kTestPageBytes, '\0');
  ASSERT_OK(store->ReadPage({"tenant", "s"}, view.manifest.pages(0), absl::MakeSpan(page)));
  EXPECT_EQ(page, PageBytes(static_cast<uint32_t>(view.manifest.version())));
}

TEST_F(RecoveryTest, ADamagedRecordIsDataLossUntilItIsDeleted) {
  {
    ASSERT_OK_AND_ASSIGN(const auto store, Open(data_));
    ASSERT_OK_AND_ASSIGN(const Lease lease, Acquire(*store, "s"));
    ASSERT_OK(CommitTurn(*store, "s", lease.epoch, 1));
    ASSERT_OK(Acquire(*store, "whole"));
  }
  {
    ASSERT_OK_AND_ASSIGN(const auto key_value, OpenRocksDbKeyValue(data_, RocksDbOptions()));
    const std::string key = SessionKeyOf({"tenant", "s"});
    ASSERT_OK_AND_ASSIGN(std::string record, key_value->Get(Table::kSessions, key));
    record[20] = static_cast<char>(record[20] ^ 1);
    WriteBatch batch;
    batch.Put(Table::kSessions, key, record);
    ASSERT_OK(key_value->Write(batch, true));
  }
  ASSERT_OK_AND_ASSIGN(const auto store, Open(data_));
  EXPECT_THAT(Acquire(*store, "s"), StatusIs(absl::StatusCode::kDataLoss));
  EXPECT_EQ(store->List("tenant", "", 10)->sessions.size(), 1u);
  EXPECT_OK(store->Delete({"tenant", "s"}));
  // The pages went too, although nothing told of them any more.
  std::string page(kTestPageBytes, '\0');
  EXPECT_THAT(
      store->ReadPage({"tenant", "s"}, MakeManifest("s", 1, 1).pages(0), absl::MakeSpan(page)),
      StatusIs(absl::StatusCode::kNotFound));
  EXPECT_OK(Acquire(*store, "s"));
  EXPECT_EQ(store->session_count(), 2u);
}

TEST_F(RecoveryTest, ADamagedLeaseRecordFencesItsHolder) {
  uint64_t epoch = 0;
  {
    ASSERT_OK_AND_ASSIGN(const auto store, Open(data_));
    ASSERT_OK_AND_ASSIGN(const Lease lease, Acquire(*store, "s"));
    epoch = lease.epoch;
  }
  {
    ASSERT_OK_AND_ASSIGN(const auto key_value, OpenRocksDbKeyValue(data_, RocksDbOptions()));
    WriteBatch batch;
    batch.Put(Table::kLeases, SessionKeyOf({"tenant", "s"}), "LCKL garbage");
    ASSERT_OK(key_value->Write(batch, true));
  }
  ASSERT_OK_AND_ASSIGN(const auto store, Open(data_));
  EXPECT_EQ(ErrorReason(CommitTurn(*store, "s", epoch, 1)), kReasonStaleEpoch);
  EXPECT_OK(Acquire(*store, "s"));
}

TEST_F(RecoveryTest, ADamagedEpochLimitIsNotForgiven) {
  { ASSERT_OK(Open(data_)); }
  {
    ASSERT_OK_AND_ASSIGN(const auto key_value, OpenRocksDbKeyValue(data_, RocksDbOptions()));
    WriteBatch batch;
    batch.Put(Table::kMeta, "epoch_limit", "LCKE garbage");
    ASSERT_OK(key_value->Write(batch, true));
  }
  EXPECT_THAT(Open(data_), StatusIs(absl::StatusCode::kDataLoss));
}

TEST(LeaseRecord, EveryTruncationAndFlippedBitIsNoticed) {
  std::string bytes = EncodeLeaseRecord({77, "worker-1"});
  ASSERT_OK_AND_ASSIGN(const LeaseRecord back, DecodeLeaseRecord(bytes));
  EXPECT_EQ(back.epoch, 77u);
  EXPECT_EQ(back.holder, "worker-1");
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(DecodeLeaseRecord(bytes.substr(0, size)).ok());
  }
  for (size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
    std::string flipped = bytes;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
    EXPECT_FALSE(DecodeLeaseRecord(flipped).ok()) << bit;
  }
}

}  // namespace
}  // namespace lckv
