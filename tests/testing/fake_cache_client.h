#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/mutex.h"
#include "cache/arena/arena.h"
#include "cache/client/cache_client.h"
#include "cache/client/local_cache_client.h"
#include "cache/core/cache_core.h"
#include "cache/store/session_store.h"

namespace lckv::testing {

// A cache node in memory and a client of it that a test can break. The rules are those of the real
// node; the faults are the network's. Thread-safe.
class FakeCacheClient final : public CacheClient, public PageTransport {
 public:
  enum Call { kAcquire, kRenew, kReserve, kCommit, kRelease, kWrite, kRead, kCalls };

  FakeCacheClient() {
    absl::StatusOr<std::unique_ptr<Arena>> arena = Arena::Create(uint64_t{64} << 20, false);
    absl::StatusOr<std::unique_ptr<SessionStore>> store =
        OpenSessionStore(MakeMemoryKeyValue(uint64_t{64} << 20), SessionStoreOptions());
    LCKV_CHECK(arena.ok() && store.ok());
    core_ = std::make_unique<CacheCore>(*std::move(arena), *std::move(store), &observer_,
                                        CacheCoreOptions());
    client_ = MakeLocalCacheClient(core_.get());
  }

  // The next `times` calls fail; with `after` they are done first (an answer that was lost).
  void Fail(Call call, absl::Status status, int times = 1, bool after = false) {
    MutexLock lock(mu_);
    faults_[call] = {std::move(status), times, after};
  }
  void Heal() {
    MutexLock lock(mu_);
    faults_ = {};
  }
  // Reads deliver this page of the session with a bit flipped.
  void CorruptPage(uint32_t page) {
    MutexLock lock(mu_);
    corrupt_page_ = page;
  }
  // Acquire says that the pages from this one on are lost.
  void LosePagesFrom(int page) {
    MutexLock lock(mu_);
    lost_from_ = page;
  }
  // Runs before each call of this kind, on the caller's thread.
  void Before(Call call, std::function<void()> hook) {
    MutexLock lock(mu_);
    hooks_[call] = std::move(hook);
  }
  // Calls so far, failed ones included.
  int calls(Call call) const {
    MutexLock lock(mu_);
    return counts_[call];
  }
  int pages_written() const {
    MutexLock lock(mu_);
    return pages_written_;
  }
  // Commits that were on disk before they were answered.
  int synced_commits() const { return observer_.syncs; }
  CacheCore& core() { return *core_; }

  // What is stored, or an empty manifest.
  v1::Manifest Stored(const std::string& tenant, const std::string& session_id) {
    return View(tenant, session_id).manifest();
  }
  // Empty: none.
  std::string Holder(const std::string& tenant, const std::string& session_id) {
    return View(tenant, session_id).lease_holder();
  }

  absl::StatusOr<v1::AcquireResponse> Acquire(const v1::AcquireRequest& request,
                                              absl::Time deadline) override {
    absl::StatusOr<v1::AcquireResponse> response = Faulty<absl::StatusOr<v1::AcquireResponse>>(
        kAcquire, [&] { return client_->Acquire(request, deadline); });
    MutexLock lock(mu_);
    if (response.ok() && lost_from_.has_value()) {
      for (int i = *lost_from_; i < response->extents_size(); ++i) {
        response->mutable_extents(i)->set_length(0);
      }
    }
    return response;
  }
  absl::Status Renew(const v1::RenewRequest& request, absl::Time deadline) override {
    return Faulty<absl::Status>(kRenew, [&] { return client_->Renew(request, deadline); });
  }
  absl::StatusOr<v1::ReserveResponse> Reserve(const v1::ReserveRequest& request,
                                              absl::Time deadline) override {
    return Faulty<absl::StatusOr<v1::ReserveResponse>>(
        kReserve, [&] { return client_->Reserve(request, deadline); });
  }
  absl::StatusOr<v1::CommitResponse> Commit(const v1::CommitRequest& request,
                                            absl::Time deadline) override {
    return Faulty<absl::StatusOr<v1::CommitResponse>>(
        kCommit, [&] { return client_->Commit(request, deadline); });
  }
  absl::Status Release(const v1::ReleaseRequest& request, absl::Time deadline) override {
    return Faulty<absl::Status>(kRelease, [&] { return client_->Release(request, deadline); });
  }
  absl::Status Touch(const v1::TouchRequest& request, absl::Time deadline) override {
    return client_->Touch(request, deadline);
  }
  absl::Status Delete(const v1::DeleteRequest& request, absl::Time deadline) override {
    return client_->Delete(request, deadline);
  }
  absl::StatusOr<v1::StatResponse> Stat(const v1::StatRequest& request,
                                        absl::Time deadline) override {
    return client_->Stat(request, deadline);
  }
  PageTransport& transport() override { return *this; }

  absl::Status Write(uint64_t reservation, absl::Span<const PageWrite> pages,
                     absl::Time deadline) override {
    {
      MutexLock lock(mu_);
      pages_written_ += static_cast<int>(pages.size());
    }
    return Faulty<absl::Status>(
        kWrite, [&] { return client_->transport().Write(reservation, pages, deadline); });
  }
  absl::Status Read(uint64_t read_lease, absl::Span<const PageRead> pages,
                    absl::Time deadline) override {
    const absl::Status status = Faulty<absl::Status>(
        kRead, [&] { return client_->transport().Read(read_lease, pages, deadline); });
    MutexLock lock(mu_);
    for (const PageRead& page : pages) {
      if (status.ok() && corrupt_page_ == page.extent_index) *static_cast<uint8_t*>(page.data) ^= 1;
    }
    return status;
  }

 private:
  struct SyncCounter final : CacheObserver {
    void OnSync(absl::Duration) override { ++syncs; }
    std::atomic<int> syncs{0};
  };
  struct Fault {
    absl::Status status;
    int times = 0;
    bool after = false;
  };

  template <typename Result, typename Function>
  Result Faulty(Call call, const Function& function) {
    std::function<void()> hook;
    absl::Status status;
    bool after = false;
    {
      MutexLock lock(mu_);
      ++counts_[call];
      hook = hooks_[call];
      Fault& fault = faults_[call];
      if (fault.times > 0) {
        --fault.times;
        status = fault.status;
        after = fault.after;
      }
    }
    if (hook) hook();
    if (status.ok()) return function();
    if (after) (void)function();
    return status;
  }

  v1::StatResponse View(const std::string& tenant, const std::string& session_id) {
    v1::StatRequest request;
    request.set_tenant(tenant);
    request.set_session_id(session_id);
    request.set_with_tokens(true);
    absl::StatusOr<v1::StatResponse> response = core_->Stat(request);
    return response.ok() ? *std::move(response) : v1::StatResponse();
  }

  SyncCounter observer_;
  std::unique_ptr<CacheCore> core_;
  std::unique_ptr<CacheClient> client_;
  mutable Mutex mu_;
  std::array<Fault, kCalls> faults_ ABSL_GUARDED_BY(mu_);
  std::array<std::function<void()>, kCalls> hooks_ ABSL_GUARDED_BY(mu_);
  std::array<int, kCalls> counts_ ABSL_GUARDED_BY(mu_){};
  std::optional<uint32_t> corrupt_page_ ABSL_GUARDED_BY(mu_);
  std::optional<int> lost_from_ ABSL_GUARDED_BY(mu_);
  int pages_written_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace lckv::testing
