#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "cache/arena/arena.h"
#include "cache/core/cache_observer.h"
#include "cache/core/page_tier.h"
#include "cache/store/session_store.h"
#include "lckv/v1/cache.pb.h"

namespace lckv {

struct CacheCoreOptions {
  // A reservation or read lease that nobody used for this long is dropped, so that a dead worker
  // leaks nothing. Each chunk written or page read starts it again.
  absl::Duration handle_ttl = absl::Seconds(30);
  size_t max_reservations = 4096;
  size_t max_read_leases = 4096;
  uint32_t max_pages_per_reservation = 65536;
  Clock* clock = Clock::Real();
};

struct CacheStats {
  uint64_t memory_bytes_used = 0;
  uint64_t memory_bytes_capacity = 0;
  uint64_t storage_bytes = 0;
  size_t sessions = 0;
  size_t reservations = 0;
  size_t read_leases = 0;
};

// The cache node without its network: the calls of cache.proto (where their errors are),
// thread-safe. Calls block on storage. Requests are hostile: everything in them is checked here.
//
// Pages come in through Reserve, WriteChunk, Commit: a page is in nobody's view until its bytes
// match the manifest's checksum and record and pages are stored in one write. They go out through
// Acquire (found in the arena, else loaded from storage and checked) and PinPage. A page that is
// missing or damaged in storage is dropped together with those after it (the worker computes them
// again).
//
// Lock order: mu_ is never held while storage, tier or arena are called.
class CacheCore {
 public:
  // `observer` must outlive the core.
  CacheCore(std::unique_ptr<Arena> arena, std::unique_ptr<SessionStore> store,
            CacheObserver* observer, const CacheCoreOptions& options);
  ~CacheCore();
  CacheCore(const CacheCore&) = delete;
  CacheCore& operator=(const CacheCore&) = delete;

  // The control plane. A response that lacks room for the pages (all of the arena is pinned) has
  // extents of length 0 from the first that did not fit; nothing is dropped then.
  absl::StatusOr<v1::AcquireResponse> Acquire(const v1::AcquireRequest& request);
  absl::Status Renew(const v1::RenewRequest& request);
  absl::StatusOr<v1::ReserveResponse> Reserve(const v1::ReserveRequest& request);
  // Ends the reservation, whatever the result. Pages of a reservation that is unknown (it expired,
  // or an earlier attempt at this commit ended it) count as not written.
  absl::StatusOr<v1::CommitResponse> Commit(const v1::CommitRequest& request);
  absl::Status Release(const v1::ReleaseRequest& request);
  absl::Status Touch(const v1::TouchRequest& request);
  absl::Status Delete(const v1::DeleteRequest& request);
  absl::StatusOr<v1::StatResponse> Stat(const v1::StatRequest& request);
  absl::StatusOr<v1::ListResponse> List(const v1::ListRequest& request);

  // The data plane. Copies `data` into extent `extent_index` of a reservation, at `offset_bytes`.
  // NOT_FOUND: no such reservation (any more). INVALID_ARGUMENT: outside it.
  absl::Status WriteChunk(uint64_t reservation, uint32_t extent_index, uint64_t offset_bytes,
                          absl::string_view data);
  // How many pages a read lease pins: positions [0, n) of the Acquire response's extents, those
  // that are not lost. NOT_FOUND: no such lease (any more).
  absl::StatusOr<uint32_t> PageCount(uint64_t read_lease);
  // NOT_FOUND: no such lease or position.
  absl::StatusOr<PinnedPage> PinPage(uint64_t read_lease, uint32_t position);

  // Drops what is past its time. Reserve and Acquire do it too; call it now and then so that memory
  // comes back when nothing happens.
  void DropExpired();

  CacheStats Stats();

 private:
  struct Reservation;
  struct ReadLease;

  std::shared_ptr<Reservation> FindReservation(uint64_t id);
  std::shared_ptr<Reservation> TakeReservation(uint64_t id);
  // Closed and checked, ready to be stored; null when there is none.
  absl::StatusOr<std::shared_ptr<Reservation>> TakeForCommit(const v1::CommitRequest& request);
  absl::StatusOr<CommitOutcome> StoreCommit(const v1::CommitRequest& request,
                                            const Reservation* reservation);
  absl::StatusOr<v1::CommitResponse> DoCommit(const v1::CommitRequest& request);
  void Publish(const v1::CommitRequest& request, Reservation& reservation,
               const std::vector<uint32_t>& stored);

  // The session's pages up to the first that is lost or finds no room.
  std::vector<PinnedPage> LoadPages(const v1::Manifest& manifest);
  absl::StatusOr<PinnedPage> LoadPage(const SessionName& name, const v1::PageEntry& page,
                                      uint64_t page_bytes);
  absl::StatusOr<uint64_t> AddReadLease(std::vector<PinnedPage> pages);
  absl::Status CountConflict(absl::Status status);
  uint64_t NewHandle() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  CacheObserver* const observer_;
  const CacheCoreOptions options_;
  const std::unique_ptr<Arena> arena_;
  const std::unique_ptr<SessionStore> store_;
  PageTier tier_;

  Mutex mu_;
  uint64_t next_handle_ ABSL_GUARDED_BY(mu_);
  std::map<uint64_t, std::shared_ptr<Reservation>> reservations_ ABSL_GUARDED_BY(mu_);
  std::map<uint64_t, std::shared_ptr<ReadLease>> read_leases_ ABSL_GUARDED_BY(mu_);
};

}  // namespace lckv
