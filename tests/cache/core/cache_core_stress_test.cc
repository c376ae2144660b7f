// Many workers, few sessions, little memory: whatever is read is what was committed.

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "base/crc32c.h"
#include "cache/client/local_cache_client.h"
#include "tests/cache/core/cache_core_fixture.h"

namespace lckv {
namespace {

using ::lckv::testing::CrcOf;
using ::lckv::testing::kTestPageBytes;
using ::lckv::testing::MakeManifest;
using ::lckv::testing::PageBytes;

constexpr int kWorkers = 4;
constexpr int kRounds = 40;

// One worker's life: take a session, check all pages that came, add a turn with new pages.
class Worker {
 public:
  Worker(CacheCore* core, int number)
      : client_(MakeLocalCacheClient(core)), number_(number), rng_(static_cast<unsigned>(number)) {}

  void Run() {
    for (int round = 0; round < kRounds; ++round) Turn("s" + std::to_string(rng_() % 3));
  }

  int turns() const { return turns_; }
  int pages_checked() const { return pages_checked_; }

 private:
  static absl::Time Deadline() { return absl::Now() + absl::Minutes(1); }

  void Turn(const std::string& id) {
    v1::AcquireRequest request;
    request.set_tenant("tenant");
    request.set_session_id(id);
    request.set_worker_id("w" + std::to_string(number_));
    request.set_create(true);
    request.set_takeover(true);
    request.set_want_pages(true);
    absl::StatusOr<v1::AcquireResponse> acquired = client_->Acquire(request, Deadline());
    ASSERT_OK(acquired);
    CheckPages(*acquired);
    v1::ReleaseRequest release;
    release.set_read_lease(acquired->read_lease());
    ASSERT_OK(client_->Release(release, Deadline()));
    Extend(acquired->manifest());
  }

  void CheckPages(const v1::AcquireResponse& acquired) {
    std::vector<std::string> bytes;
    std::vector<PageRead> reads;
    for (const v1::Extent& extent : acquired.extents()) {
      if (extent.length() == 0) break;
      bytes.emplace_back(extent.length(), '\0');
      const auto index = static_cast<uint32_t>(reads.size());
      reads.push_back({index, {0, 0, 0, extent.length()}, nullptr});
    }
    for (size_t i = 0; i < reads.size(); ++i) reads[i].data = bytes[i].data();
    ASSERT_OK(client_->transport().Read(acquired.read_lease(), reads, Deadline()));
    for (size_t i = 0; i < bytes.size(); ++i) {
      ASSERT_EQ(CrcOf(bytes[i]), acquired.manifest().pages(static_cast<int>(i)).crc32c());
      ++pages_checked_;
    }
  }

  // A turn of 8 tokens: the last page grows or a new one begins. Others may take the lease
  // meanwhile.
  void Extend(const v1::Manifest& stored) {
    const auto tokens = static_cast<uint32_t>(stored.tokens_size()) % 80 + 8;
    const uint32_t seed = static_cast<uint32_t>(rng_()) % 1000 + 1000;
    v1::Manifest manifest = MakeManifest(stored.session_id(), tokens, tokens, seed);
    const bool restarts = tokens < stored.committed_tokens();
    if (restarts) return Delete(stored.session_id());
    manifest.set_version(stored.version() + 1);
    manifest.set_epoch(stored.epoch());

    v1::ReserveRequest reserve;
    reserve.set_tenant("tenant");
    reserve.set_session_id(stored.session_id());
    reserve.set_epoch(stored.epoch());
    reserve.set_pages(static_cast<uint32_t>(manifest.pages_size()));
    reserve.set_page_bytes(kTestPageBytes);
    const absl::StatusOr<v1::ReserveResponse> reserved = client_->Reserve(reserve, Deadline());
    if (!reserved.ok()) return;  // fenced, or memory is full of others' pins
    std::vector<std::string> bytes;
    std::vector<PageWrite> writes;
    v1::CommitRequest commit;
    for (uint32_t i = 0; i < reserve.pages(); ++i) bytes.push_back(PageBytes(seed + i));
    for (uint32_t i = 0; i < reserve.pages(); ++i) {
      writes.push_back({i, {0, 0, 0, kTestPageBytes}, bytes[i].data()});
      commit.add_page_positions(i);
    }
    ASSERT_OK(client_->transport().Write(reserved->reservation(), writes, Deadline()));
    commit.set_reservation(reserved->reservation());
    *commit.mutable_manifest() = manifest;
    const absl::StatusOr<v1::CommitResponse> committed = client_->Commit(commit, Deadline());
    if (committed.ok()) ++turns_;
  }

  void Delete(const std::string& id) {
    v1::DeleteRequest request;
    request.set_tenant("tenant");
    request.set_session_id(id);
    const absl::Status status = client_->Delete(request, Deadline());
    EXPECT_TRUE(status.ok() || absl::IsNotFound(status)) << status;
  }

  const std::unique_ptr<CacheClient> client_;
  const int number_;
  std::mt19937 rng_;
  int turns_ = 0;
  int pages_checked_ = 0;
};

using CacheCoreStressTest = CacheCoreFixture;

TEST_F(CacheCoreStressTest, WhatIsReadIsWhatWasCommitted) {
  Restart(24);
  std::vector<std::unique_ptr<Worker>> workers;
  std::vector<std::thread> threads;
  for (int i = 0; i < kWorkers; ++i) workers.push_back(std::make_unique<Worker>(core_.get(), i));
  for (auto& worker : workers) threads.emplace_back([&worker] { worker->Run(); });
  for (std::thread& thread : threads) thread.join();
  int turns = 0;
  int pages = 0;
  for (const auto& worker : workers) {
    turns += worker->turns();
    pages += worker->pages_checked();
  }
  EXPECT_GT(turns, kRounds);
  EXPECT_GT(pages, kRounds);
  EXPECT_EQ(observer_.bad_loads, 0);
  EXPECT_EQ(observer_.bad_commits, 0);
  EXPECT_EQ(core_->Stats().reservations, 0u);
  EXPECT_EQ(core_->Stats().read_leases, 0u);
}

}  // namespace
}  // namespace lckv
