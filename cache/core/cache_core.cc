#include "cache/core/cache_core.h"

#include <algorithm>
#include <cstring>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/crc32c.h"
#include "base/error_info.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "cache/core/request_checks.h"
#include "cache/image/manifest.h"

namespace lckv {
namespace {

constexpr absl::Duration kRetryAfterFull = absl::Seconds(1);
constexpr uint32_t kDefaultListSize = 100;
constexpr uint32_t kMaxListSize = 1000;

// Handles from before a restart should not be taken for ours, and 0 means none.
uint64_t FirstHandle() {
  std::random_device device;
  return (uint64_t{device()} << 30) + 1;
}

void ToProto(const ArenaExtent& extent, v1::Extent* proto) {
  proto->set_region(extent.region);
  proto->set_generation(extent.generation);
  proto->set_offset(extent.offset_bytes);
  proto->set_length(extent.length_bytes);
}

void ToProto(SessionView view, v1::StatResponse* proto) {
  proto->set_transcript_tokens(view.transcript_tokens);
  proto->set_lease_holder(std::move(view.lease_holder));
  proto->set_kv_bytes(view.kv_bytes);
  *proto->mutable_manifest() = std::move(view.manifest);
}

absl::Status NoHandle(absl::string_view what, uint64_t id) {
  return absl::NotFoundError(absl::StrCat(what, " ", id, ": unknown or past its time"));
}

absl::Status Full(absl::string_view what) {
  return WithRetryAfter(absl::ResourceExhaustedError(what), kRetryAfterFull);
}

}  // namespace

struct CacheCore::Reservation {
  std::string session_key;
  uint64_t page_bytes = 0;
  absl::Time expires;  // guarded by CacheCore::mu_

  // Writers copy under mu while it is not closed; afterwards the blocks are the committer's alone.
  Mutex mu;
  bool closed ABSL_GUARDED_BY(mu) = false;
  std::vector<ArenaBlock> blocks;
};

struct CacheCore::ReadLease {
  std::vector<PinnedPage> pages;  // those before the first lost one. Constant.
  absl::Time expires;             // guarded by CacheCore::mu_
};

CacheCore::CacheCore(std::unique_ptr<Arena> arena, std::unique_ptr<SessionStore> store,
                     CacheObserver* observer, const CacheCoreOptions& options)
    : observer_(observer),
      options_(options),
      arena_(std::move(arena)),
      store_(std::move(store)),
      tier_(arena_.get(), observer),
      next_handle_(FirstHandle()) {}

CacheCore::~CacheCore() = default;

uint64_t CacheCore::NewHandle() { return next_handle_++; }

absl::Status CacheCore::CountConflict(absl::Status status) {
  const std::string reason = status.ok() ? "" : ErrorReason(status);
  if (reason == kReasonLeaseHeld || reason == kReasonStaleEpoch) observer_->OnLeaseConflict();
  return status;
}

absl::StatusOr<v1::AcquireResponse> CacheCore::Acquire(const v1::AcquireRequest& request) {
  LCKV_RETURN_IF_ERROR(CheckAcquire(request));
  DropExpired();
  const absl::Duration ttl = LeaseTtl(request.lease_ttl_ms());
  absl::StatusOr<Lease> lease =
      store_->Acquire(NameOf(request), {request.worker_id(), ttl, request.takeover(),
                                        request.create(), request.encode(), request.durability()});
  LCKV_RETURN_IF_ERROR(CountConflict(lease.status()));

  v1::AcquireResponse response;
  response.set_epoch(lease->epoch);
  response.set_created(lease->created);
  response.set_lease_ttl_ms(static_cast<uint32_t>(absl::ToInt64Milliseconds(ttl)));
  if (request.want_pages()) {
    std::vector<PinnedPage> pages = LoadPages(lease->manifest);
    for (const PinnedPage& page : pages) ToProto(page->extent(), response.add_extents());
    while (response.extents_size() < lease->manifest.pages_size()) response.add_extents();
    if (!pages.empty()) {
      absl::StatusOr<uint64_t> read_lease = AddReadLease(std::move(pages));
      if (read_lease.ok()) {
        response.set_read_lease(*read_lease);
      } else {
        // The worker computes the pages again: slower, never wrong.
        for (v1::Extent& extent : *response.mutable_extents()) extent.Clear();
      }
    }
  }
  *response.mutable_manifest() = std::move(lease->manifest);
  return response;
}

absl::Status CacheCore::Renew(const v1::RenewRequest& request) {
  LCKV_RETURN_IF_ERROR(ValidateSessionName(request.tenant(), request.session_id()));
  LCKV_RETURN_IF_ERROR(ValidateWorkerId("worker_id", request.worker_id()));
  return CountConflict(store_->Renew(NameOf(request), request.worker_id(), request.epoch(),
                                     LeaseTtl(request.lease_ttl_ms())));
}

absl::StatusOr<v1::ReserveResponse> CacheCore::Reserve(const v1::ReserveRequest& request) {
  LCKV_RETURN_IF_ERROR(CheckReserve(request, options_.max_pages_per_reservation));
  LCKV_RETURN_IF_ERROR(CountConflict(store_->CheckEpoch(NameOf(request), request.epoch())));
  DropExpired();
  absl::StatusOr<std::vector<ArenaBlock>> blocks =
      tier_.Allocate(request.pages(), request.page_bytes());
  if (absl::IsResourceExhausted(blocks.status())) return Full(blocks.status().message());
  LCKV_RETURN_IF_ERROR(blocks.status());

  v1::ReserveResponse response;
  for (const ArenaBlock& block : *blocks) ToProto(block.extent(), response.add_extents());
  auto reservation = std::make_shared<Reservation>();
  reservation->session_key = SessionKeyOf(NameOf(request));
  reservation->page_bytes = request.page_bytes();
  reservation->blocks = *std::move(blocks);
  MutexLock lock(mu_);
  if (reservations_.size() >= options_.max_reservations) return Full("too many reservations");
  reservation->expires = options_.clock->Now() + options_.handle_ttl;
  response.set_reservation(NewHandle());
  reservations_.emplace(response.reservation(), std::move(reservation));
  return response;
}

std::shared_ptr<CacheCore::Reservation> CacheCore::FindReservation(uint64_t id) {
  MutexLock lock(mu_);
  const auto it = reservations_.find(id);
  if (it == reservations_.end()) return nullptr;
  it->second->expires = options_.clock->Now() + options_.handle_ttl;
  return it->second;
}

std::shared_ptr<CacheCore::Reservation> CacheCore::TakeReservation(uint64_t id) {
  std::shared_ptr<Reservation> taken;
  {
    MutexLock lock(mu_);
    const auto it = reservations_.find(id);
    if (it == reservations_.end()) return nullptr;
    taken = std::move(it->second);
    reservations_.erase(it);
  }
  MutexLock lock(taken->mu);
  taken->closed = true;
  return taken;
}

absl::Status CacheCore::WriteChunk(uint64_t reservation_id, uint32_t extent_index,
                                   uint64_t offset_bytes, absl::string_view data) {
  const std::shared_ptr<Reservation> reservation = FindReservation(reservation_id);
  if (reservation == nullptr) return NoHandle("reservation", reservation_id);
  MutexLock lock(reservation->mu);
  if (reservation->closed) return NoHandle("reservation", reservation_id);
  if (extent_index >= reservation->blocks.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("extent ", extent_index, " of a reservation of ", reservation->blocks.size()));
  }
  const absl::Span<char> bytes = reservation->blocks[extent_index].bytes();
  if (offset_bytes > bytes.size() || data.size() > bytes.size() - offset_bytes) {
    return absl::InvalidArgumentError(absl::StrCat("extent ", extent_index, ": ", data.size(),
                                                   " bytes at ", offset_bytes, " in ",
                                                   bytes.size()));
  }
  if (!data.empty()) std::memcpy(bytes.data() + offset_bytes, data.data(), data.size());
  return absl::OkStatus();
}

absl::StatusOr<v1::CommitResponse> CacheCore::Commit(const v1::CommitRequest& request) {
  absl::StatusOr<v1::CommitResponse> response = DoCommit(request);
  observer_->OnCommit(response.status());
  LCKV_RETURN_IF_ERROR(CountConflict(response.status()));
  return response;
}

absl::StatusOr<v1::CommitResponse> CacheCore::DoCommit(const v1::CommitRequest& request) {
  LCKV_ASSIGN_OR_RETURN(const std::shared_ptr<Reservation> reservation, TakeForCommit(request));
  LCKV_ASSIGN_OR_RETURN(const CommitOutcome outcome, StoreCommit(request, reservation.get()));
  const SessionName name = NameOf(request.manifest());
  for (const v1::PageEntry& page : outcome.superseded) tier_.Erase(PageKeyOf(name, page));
  if (reservation != nullptr) Publish(request, *reservation, outcome.stored_pages);
  v1::CommitResponse response;
  response.set_kv_tokens(outcome.kv_tokens);
  return response;
}

absl::StatusOr<std::shared_ptr<CacheCore::Reservation>> CacheCore::TakeForCommit(
    const v1::CommitRequest& request) {
  // First, so that the reservation ends whatever is wrong with the rest.
  std::shared_ptr<Reservation> reservation = TakeReservation(request.reservation());
  LCKV_RETURN_IF_ERROR(CheckCommit(request));
  if (reservation == nullptr) return reservation;
  const v1::Manifest& manifest = request.manifest();
  if (reservation->session_key != SessionKeyOf(NameOf(manifest))) {
    return absl::InvalidArgumentError("reservation: of another session");
  }
  if (request.page_positions().empty()) return reservation;
  if (reservation->page_bytes != manifest.page_bytes()) {
    return absl::InvalidArgumentError(
        absl::StrCat("reservation: its pages have ", reservation->page_bytes,
                     " bytes, page_bytes is ", manifest.page_bytes()));
  }
  const auto written = static_cast<size_t>(request.page_positions_size());
  if (written > reservation->blocks.size()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "page_positions: ", written, " in a reservation of ", reservation->blocks.size()));
  }
  for (size_t i = 0; i < written; ++i) {
    const uint32_t position = request.page_positions(static_cast<int>(i));
    const absl::Span<const char> bytes = reservation->blocks[i].bytes();
    const uint32_t crc = Crc32c(bytes.data(), bytes.size());
    if (crc == manifest.pages(static_cast<int>(position)).crc32c()) continue;
    observer_->OnChecksumFailure(CacheObserver::CrcSite::kCommit);
    return absl::DataLossError(absl::StrCat("page ", position,
                                            ": checksum of what was written "
                                            "differs from the manifest's"));
  }
  return reservation;
}

absl::StatusOr<CommitOutcome> CacheCore::StoreCommit(const v1::CommitRequest& request,
                                                     const Reservation* reservation) {
  std::vector<NewPage> pages;
  if (reservation != nullptr) {
    for (int i = 0; i < request.page_positions_size(); ++i) {
      const absl::Span<const char> bytes = reservation->blocks[static_cast<size_t>(i)].bytes();
      pages.push_back({request.page_positions(i), {bytes.data(), bytes.size()}});
    }
  }
  const absl::Time begin = options_.clock->Now();
  absl::StatusOr<CommitOutcome> outcome = store_->Commit(request.manifest(), pages, request.sync());
  if (request.sync() && outcome.ok()) observer_->OnSync(options_.clock->Now() - begin);
  return outcome;
}

void CacheCore::Publish(const v1::CommitRequest& request, Reservation& reservation,
                        const std::vector<uint32_t>& stored) {
  const SessionName name = NameOf(request.manifest());
  for (const uint32_t i : stored) {
    const auto position = static_cast<int>(request.page_positions(static_cast<int>(i)));
    tier_.Insert(PageKeyOf(name, request.manifest().pages(position)),
                 std::move(reservation.blocks[i]));
  }
}

absl::Status CacheCore::Release(const v1::ReleaseRequest& request) {
  std::shared_ptr<ReadLease> read_lease;  // freed without the lock
  {
    MutexLock lock(mu_);
    const auto it = read_leases_.find(request.read_lease());
    if (it != read_leases_.end()) {
      read_lease = std::move(it->second);
      read_leases_.erase(it);
    }
  }
  TakeReservation(request.reservation());
  if (request.epoch() == 0) return absl::OkStatus();
  LCKV_RETURN_IF_ERROR(ValidateSessionName(request.tenant(), request.session_id()));
  return store_->Release(NameOf(request), request.epoch());
}

absl::Status CacheCore::Touch(const v1::TouchRequest& request) {
  LCKV_RETURN_IF_ERROR(ValidateSessionName(request.tenant(), request.session_id()));
  const SessionName name = NameOf(request);
  LCKV_ASSIGN_OR_RETURN(const SessionView view, store_->Get(name));
  if (request.prefetch()) {
    LoadPages(view.manifest);
    return absl::OkStatus();
  }
  for (const v1::PageEntry& page : view.manifest.pages()) tier_.Find(PageKeyOf(name, page));
  return absl::OkStatus();
}

absl::Status CacheCore::Delete(const v1::DeleteRequest& request) {
  LCKV_RETURN_IF_ERROR(ValidateSessionName(request.tenant(), request.session_id()));
  const SessionName name = NameOf(request);
  const absl::StatusOr<SessionView> view = store_->Get(name);
  LCKV_RETURN_IF_ERROR(store_->Delete(name));
  if (!view.ok()) return absl::OkStatus();
  for (const v1::PageEntry& page : view->manifest.pages()) tier_.Erase(PageKeyOf(name, page));
  return absl::OkStatus();
}

absl::StatusOr<v1::StatResponse> CacheCore::Stat(const v1::StatRequest& request) {
  LCKV_RETURN_IF_ERROR(ValidateSessionName(request.tenant(), request.session_id()));
  LCKV_ASSIGN_OR_RETURN(SessionView view, store_->Get(NameOf(request)));
  if (!request.with_tokens()) view.manifest.clear_tokens();
  v1::StatResponse response;
  ToProto(std::move(view), &response);
  return response;
}

absl::StatusOr<v1::ListResponse> CacheCore::List(const v1::ListRequest& request) {
  LCKV_RETURN_IF_ERROR(CheckList(request));
  const uint32_t size =
      request.page_size() == 0 ? kDefaultListSize : std::min(request.page_size(), kMaxListSize);
  LCKV_ASSIGN_OR_RETURN(SessionList list,
                        store_->List(request.tenant(), request.page_token(), size));
  v1::ListResponse response;
  for (SessionView& view : list.sessions) ToProto(std::move(view), response.add_sessions());
  response.set_next_page_token(std::move(list.next_after));
  return response;
}

std::vector<PinnedPage> CacheCore::LoadPages(const v1::Manifest& manifest) {
  const SessionName name = NameOf(manifest);
  std::vector<PinnedPage> pages;
  pages.reserve(static_cast<size_t>(manifest.pages_size()));
  for (const v1::PageEntry& entry : manifest.pages()) {
    absl::StatusOr<PinnedPage> page = LoadPage(name, entry, manifest.page_bytes());
    if (page.ok()) {
      pages.push_back(*std::move(page));
      continue;
    }
    LogWarning("page not loaded", {{"session", name.session_id},
                                   {"page", entry.index()},
                                   {"error", page.status().ToString()}});
    const bool lost = absl::IsDataLoss(page.status()) || absl::IsNotFound(page.status());
    if (!lost) break;
    if (absl::Status status = store_->DropPagesFrom(name, entry); !status.ok()) {
      LogError("lost page not dropped",
               {{"session", name.session_id}, {"error", status.ToString()}});
    }
    break;
  }
  return pages;
}

absl::StatusOr<PinnedPage> CacheCore::LoadPage(const SessionName& name, const v1::PageEntry& page,
                                               uint64_t page_bytes) {
  const std::string key = PageKeyOf(name, page);
  PinnedPage found = tier_.Find(key);
  if (found != nullptr && found->extent().length_bytes == page_bytes) {
    observer_->OnPageLookup(true);
    return found;
  }
  observer_->OnPageLookup(false);
  if (found != nullptr) tier_.Erase(key);
  LCKV_ASSIGN_OR_RETURN(std::vector<ArenaBlock> blocks, tier_.Allocate(1, page_bytes));
  const absl::Span<char> bytes = blocks[0].bytes();
  const absl::Status read = store_->ReadPage(name, page, bytes);
  const bool intact = read.ok() && Crc32c(bytes.data(), bytes.size()) == page.crc32c();
  if (absl::IsDataLoss(read) || (read.ok() && !intact)) {
    observer_->OnChecksumFailure(CacheObserver::CrcSite::kLoad);
  }
  LCKV_RETURN_IF_ERROR(read);
  if (!intact) return absl::DataLossError("checksum differs");
  return tier_.Insert(key, std::move(blocks[0]));
}

absl::StatusOr<uint64_t> CacheCore::AddReadLease(std::vector<PinnedPage> pages) {
  auto lease = std::make_shared<ReadLease>();
  lease->pages = std::move(pages);
  MutexLock lock(mu_);
  if (read_leases_.size() >= options_.max_read_leases) return Full("too many read leases");
  lease->expires = options_.clock->Now() + options_.handle_ttl;
  const uint64_t id = NewHandle();
  read_leases_.emplace(id, std::move(lease));
  return id;
}

absl::StatusOr<uint32_t> CacheCore::PageCount(uint64_t read_lease) {
  MutexLock lock(mu_);
  const auto it = read_leases_.find(read_lease);
  if (it == read_leases_.end()) return NoHandle("read lease", read_lease);
  return static_cast<uint32_t>(it->second->pages.size());
}

absl::StatusOr<PinnedPage> CacheCore::PinPage(uint64_t read_lease, uint32_t position) {
  MutexLock lock(mu_);
  const auto it = read_leases_.find(read_lease);
  if (it == read_leases_.end()) return NoHandle("read lease", read_lease);
  it->second->expires = options_.clock->Now() + options_.handle_ttl;
  const std::vector<PinnedPage>& pages = it->second->pages;
  if (position >= pages.size()) {
    return absl::NotFoundError(
        absl::StrCat("page ", position, ": the read lease has ", pages.size()));
  }
  return pages[position];
}

void CacheCore::DropExpired() {
  std::vector<std::shared_ptr<Reservation>> reservations;  // freed without the lock
  std::vector<std::shared_ptr<ReadLease>> read_leases;
  const absl::Time now = options_.clock->Now();
  const auto move_expired = [now](auto& table, auto& out) {
    for (auto it = table.begin(); it != table.end();) {
      if (it->second->expires > now) {
        ++it;
        continue;
      }
      out.push_back(std::move(it->second));
      it = table.erase(it);
    }
  };
  MutexLock lock(mu_);
  move_expired(reservations_, reservations);
  move_expired(read_leases_, read_leases);
}

CacheStats CacheCore::Stats() {
  CacheStats stats;
  stats.memory_bytes_used = arena_->used_bytes();
  stats.memory_bytes_capacity = arena_->capacity_bytes();
  stats.storage_bytes = store_->ApproximateBytes();
  stats.sessions = store_->session_count();
  MutexLock lock(mu_);
  stats.reservations = reservations_.size();
  stats.read_leases = read_leases_.size();
  return stats;
}

}  // namespace lckv
