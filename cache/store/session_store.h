#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "base/clock.h"
#include "cache/store/key_value.h"
#include "cache/store/session_key.h"
#include "lckv/v1/cache.pb.h"

namespace lckv {

struct LeaseRequest {
  std::string holder;
  absl::Duration ttl;
  bool takeover = false;
  bool create = false;
  v1::EncodePolicy encode;  // for a new session
  v1::Durability durability = v1::DURABLE;
};

struct Lease {
  uint64_t epoch = 0;
  bool created = false;
  v1::Manifest manifest;
};

// The bytes of manifest.pages(position); they must live until the commit returns.
struct NewPage {
  uint32_t position = 0;
  absl::string_view bytes;
};

struct CommitOutcome {
  uint32_t kv_tokens = 0;              // that the stored manifest covers
  std::vector<uint32_t> stored_pages;  // indices into the commit's pages; the others were dropped
  std::vector<v1::PageEntry> superseded;  // pages that were deleted
};

struct SessionView {
  v1::Manifest manifest;
  uint32_t transcript_tokens = 0;  // those of a turn in progress included
  uint64_t kv_bytes = 0;
  std::string lease_holder;  // empty: no live lease
};

struct SessionList {
  std::vector<SessionView> sessions;  // without tokens, segments and page lists
  std::string next_after;             // where to go on; empty: that was all
};

// Sessions, their leases and their pages. The seam behind which another (distributed) store may
// stand. Thread-safe; calls block on storage.
//
// A lease is the right of one worker to extend a session. Every grant has a new epoch; epochs only
// grow, over restarts and deleted sessions too. What a lease allows is decided by its epoch alone:
// - It may be taken when it is free, has expired, or with `takeover`. The same holder may take it
//   again and fences its former self.
// - Its holder's commits are accepted as long as its epoch is the session's newest, expired or not.
// - A restart frees every lease (their times are not stored) and keeps the epochs.
//
// Errors besides those named: DATA_LOSS (a record is damaged), RESOURCE_EXHAUSTED (storage full),
// UNAVAILABLE (storage fails). Names are valid (ValidateSessionName).
class SessionStore {
 public:
  virtual ~SessionStore() = default;

  // NOT_FOUND: no session and not `create`. ABORTED (LEASE_HELD, metadata "holder") with the time
  // to its expiry. RESOURCE_EXHAUSTED: as many sessions as there may be. A new durable session is
  // on disk when this returns.
  virtual absl::StatusOr<Lease> Acquire(const SessionName& name, const LeaseRequest& request) = 0;
  // ABORTED (STALE_EPOCH): the lease is gone. One that expired and that nobody took comes back.
  virtual absl::Status Renew(const SessionName& name, absl::string_view holder, uint64_t epoch,
                             absl::Duration ttl) = 0;
  // Ends the lease: nothing more is accepted under its epoch. An older epoch is no error.
  virtual absl::Status Release(const SessionName& name, uint64_t epoch) = 0;
  // OK: `epoch` is the session's newest. ABORTED (STALE_EPOCH) otherwise, or without a session.
  virtual absl::Status CheckEpoch(const SessionName& name, uint64_t epoch) = 0;

  // Publishes manifest and pages, all or nothing, after CheckEpoch and the rules of
  // cache/store/commit_rules.h. `pages` ascend by position. With `sync` it is on disk on return.
  // REQUIRES: the manifest is valid and pages have its page_bytes.
  virtual absl::StatusOr<CommitOutcome> Commit(const v1::Manifest& manifest,
                                               absl::Span<const NewPage> pages, bool sync) = 0;
  // Forgets the pages from `bad` on, as damaged or missing; nothing if the record has another page
  // there by now.
  virtual absl::Status DropPagesFrom(const SessionName& name, const v1::PageEntry& bad) = 0;

  virtual absl::StatusOr<SessionView> Get(const SessionName& name) = 0;  // NOT_FOUND
  // Fills `out` with a page's bytes, unchecked. NOT_FOUND; DATA_LOSS: the size differs.
  virtual absl::Status ReadPage(const SessionName& name, const v1::PageEntry& page,
                                absl::Span<char> out) = 0;
  // Removes session, lease and pages. An unknown one is NOT_FOUND.
  virtual absl::Status Delete(const SessionName& name) = 0;
  // At most `limit` sessions of a tenant whose ids are after `after`, in order. Damaged records are
  // left out. REQUIRES: limit > 0.
  virtual absl::StatusOr<SessionList> List(absl::string_view tenant, absl::string_view after,
                                           size_t limit) = 0;

  virtual size_t session_count() const = 0;
  virtual uint64_t ApproximateBytes() = 0;
};

struct SessionStoreOptions {
  size_t max_sessions = 100'000;
  // Above it a stripe (one of 256) forgets leases that have expired; the store still has their
  // epochs.
  size_t leases_before_sweep = 1024;
  Clock* clock = Clock::Real();
};

// One cache node's own store over `key_value`. DATA_LOSS: the epoch record is damaged (epochs could
// repeat, so it does not start).
absl::StatusOr<std::unique_ptr<SessionStore>> OpenSessionStore(std::unique_ptr<KeyValue> key_value,
                                                               const SessionStoreOptions& options);

}  // namespace lckv
