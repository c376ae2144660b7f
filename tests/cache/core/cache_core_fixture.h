#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cache/core/cache_core.h"
#include "tests/testing/cache_fixtures.h"
#include "tests/testing/shared_key_value.h"
#include "tests/testing/status_matchers.h"

namespace lckv {

// Counts what the core reports.
class CountingObserver final : public CacheObserver {
 public:
  void OnCommit(const absl::Status& outcome) override { ++(outcome.ok() ? commits : refused); }
  void OnSync(absl::Duration) override { ++syncs; }
  void OnChecksumFailure(CrcSite site) override {
    ++(site == CrcSite::kCommit ? bad_commits : bad_loads);
  }
  void OnLeaseConflict() override { ++conflicts; }
  void OnEviction(uint64_t) override { ++evictions; }
  void OnPageLookup(bool in_memory) override { ++(in_memory ? hits : misses); }

  std::atomic<int> commits{0}, refused{0}, syncs{0}, bad_commits{0}, bad_loads{0}, conflicts{0},
      evictions{0}, hits{0}, misses{0};
};

// A core over memory, a fake clock and one session "s".
class CacheCoreFixture : public ::testing::Test {
 protected:
  void SetUp() override { Restart(16); }

  // A new core over the same storage, with an empty arena of `arena_pages` test pages.
  void Restart(uint64_t arena_pages) {
    core_.reset();
    SessionStoreOptions store_options;
    store_options.clock = &clock_;
    auto key_value = std::make_unique<testing::SharedKeyValue>(storage_.get());
    key_value_ = key_value.get();
    ASSERT_OK_AND_ASSIGN(std::unique_ptr<SessionStore> store,
                         OpenSessionStore(std::move(key_value), store_options));
    ASSERT_OK_AND_ASSIGN(std::unique_ptr<Arena> arena,
                         Arena::Create(arena_pages * testing::kTestPageBytes, false));
    CacheCoreOptions options;
    options.clock = &clock_;
    options.max_reservations = 8;
    options.max_read_leases = 8;
    core_ = std::make_unique<CacheCore>(std::move(arena), std::move(store), &observer_, options);
  }

  static v1::AcquireRequest AcquireRequest(const std::string& id = "s",
                                           const std::string& worker = "w1") {
    v1::AcquireRequest request;
    request.set_tenant("tenant");
    request.set_session_id(id);
    request.set_worker_id(worker);
    request.set_create(true);
    request.set_want_pages(true);
    request.set_takeover(true);
    return request;
  }

  v1::AcquireResponse Acquire(const std::string& id = "s", const std::string& worker = "w1") {
    absl::StatusOr<v1::AcquireResponse> response = core_->Acquire(AcquireRequest(id, worker));
    EXPECT_OK(response);
    return response.ok() ? *std::move(response) : v1::AcquireResponse();
  }

  static v1::ReserveRequest ReserveRequest(uint64_t epoch, uint32_t pages,
                                           const std::string& id = "s") {
    v1::ReserveRequest request;
    request.set_tenant("tenant");
    request.set_session_id(id);
    request.set_epoch(epoch);
    request.set_pages(pages);
    request.set_page_bytes(testing::kTestPageBytes);
    return request;
  }

  // Reserves and writes the pages of `manifest` at `positions`; the request that commits them.
  v1::CommitRequest WritePages(v1::Manifest manifest, uint64_t epoch,
                               const std::vector<uint32_t>& positions, uint32_t page_seed = 100) {
    v1::CommitRequest request;
    manifest.set_epoch(epoch);
    if (!positions.empty()) {
      const absl::StatusOr<v1::ReserveResponse> reserved = core_->Reserve(
          ReserveRequest(epoch, static_cast<uint32_t>(positions.size()), manifest.session_id()));
      EXPECT_OK(reserved);
      if (reserved.ok()) request.set_reservation(reserved->reservation());
    }
    for (size_t i = 0; i < positions.size(); ++i) {
      EXPECT_OK(core_->WriteChunk(request.reservation(), static_cast<uint32_t>(i), 0,
                                  testing::PageBytes(page_seed + positions[i])));
      request.add_page_positions(positions[i]);
    }
    *request.mutable_manifest() = std::move(manifest);
    request.set_sync(true);
    return request;
  }

  // A session at version 1 with 40 tokens and all three pages stored; its epoch.
  uint64_t MakeStoredSession(const std::string& id = "s") {
    const uint64_t epoch = Acquire(id).epoch();
    v1::Manifest manifest = testing::MakeManifest(id, 40, 40);
    manifest.set_version(1);
    const absl::StatusOr<v1::CommitResponse> response =
        core_->Commit(WritePages(manifest, epoch, {0, 1, 2}));
    EXPECT_OK(response);
    EXPECT_EQ(response->kv_tokens(), 40u);
    return epoch;
  }

  testing::FakeClock clock_;
  CountingObserver observer_;
  const std::unique_ptr<KeyValue> storage_ = MakeMemoryKeyValue(1 << 20);
  testing::SharedKeyValue* key_value_ = nullptr;  // the running core's
  std::unique_ptr<CacheCore> core_;
};

}  // namespace lckv
