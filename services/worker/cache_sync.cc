#include "services/worker/cache_sync.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/error_info.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "cache/image/manifest.h"

namespace lckv::worker {
namespace {

absl::Status LeaseLost(const HotSession& session, absl::string_view why) {
  return WithErrorInfo(
      absl::AbortedError(absl::StrCat("session ", session.key.session_id, ": ", why)),
      {kReasonStaleEpoch, {}});
}

bool SameEntry(const v1::PageEntry& a, const v1::PageEntry& b) {
  return a.index() == b.index() && a.tokens() == b.tokens() && a.crc32c() == b.crc32c();
}

bool IsAlreadyAt(const absl::Status& status, uint64_t version) {
  const std::optional<ErrorInfo> info = GetErrorInfo(status);
  if (!info.has_value() || info->reason != kReasonVersionConflict) return false;
  const auto stored = info->metadata.find("version");
  return stored != info->metadata.end() && stored->second == absl::StrCat(version);
}

template <typename Request>
void SetName(const SessionKey& key, Request* request) {
  request->set_tenant(key.tenant);
  request->set_session_id(key.session_id);
}

}  // namespace

bool IsUnreachable(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status);
}

CacheSync::CacheSync(Engine* engine, CacheClient* cache, const CacheSyncOptions& options,
                     Clock* clock, WorkerMetrics* metrics)
    : engine_(engine),
      cache_(cache),
      options_(options),
      clock_(clock),
      metrics_(metrics),
      model_(IdentityOf(*engine)) {}

absl::Time CacheSync::CallDeadline(absl::Time deadline) const {
  return std::min(deadline, absl::Now() + options_.call_timeout);
}

absl::Status CacheSync::EnsureLease(HotSession& session, absl::Time deadline) {
  absl::Duration age;
  bool uncertain = false;
  bool memory = false;
  {
    MutexLock lock(session.mu);
    age = clock_->Now() - session.lease_confirmed;
    uncertain = session.uncertain;
    memory = session.head.durability() == v1::MEMORY;
  }
  if (!uncertain && age < options_.lease_ttl / 3) return absl::OkStatus();
  absl::Status status =
      uncertain ? LeaseLost(session, "a commit was not answered") : Renew(session, deadline);
  if (absl::IsAborted(status)) {
    MutexLock commit(session.commit_mu);
    status = Reattach(session, "", deadline);
  }
  if (IsUnreachable(status) && !uncertain && (age < options_.lease_ttl || memory)) {
    return absl::OkStatus();
  }
  return status;
}

absl::Status CacheSync::Renew(HotSession& session, absl::Time deadline) {
  v1::RenewRequest request;
  SetName(session.key, &request);
  request.set_worker_id(options_.worker_id);
  request.set_lease_ttl_ms(static_cast<uint32_t>(absl::ToInt64Milliseconds(options_.lease_ttl)));
  {
    MutexLock lock(session.mu);
    if (session.dropped) return LeaseLost(session, "was dropped");
    request.set_epoch(session.epoch);
  }
  const absl::Time asked = clock_->Now();
  const absl::Status status = cache_->Renew(request, CallDeadline(deadline));
  MutexLock lock(session.mu);
  if (session.epoch != request.epoch()) return absl::OkStatus();  // taken anew meanwhile
  if (status.ok()) {
    session.lease_confirmed = asked;
  } else if (!IsUnreachable(status)) {
    session.lease_confirmed = absl::InfinitePast();
  }
  return absl::IsNotFound(status) ? LeaseLost(session, "was deleted") : status;
}

void CacheSync::ReleaseLease(HotSession& session) {
  v1::ReleaseRequest request;
  SetName(session.key, &request);
  request.set_worker_id(options_.worker_id);
  {
    MutexLock lock(session.mu);
    request.set_epoch(session.epoch);
  }
  if (request.epoch() == 0) return;
  const absl::Status status = cache_->Release(request, CallDeadline(absl::InfiniteFuture()));
  if (!status.ok()) LogDebug("lease not released", {{"error", status.ToString()}});
}

absl::Status CacheSync::Reattach(HotSession& session, absl::string_view expected_turn,
                                 absl::Time deadline) {
  v1::AcquireRequest request;
  SetName(session.key, &request);
  request.set_worker_id(options_.worker_id);
  request.set_lease_ttl_ms(static_cast<uint32_t>(absl::ToInt64Milliseconds(options_.lease_ttl)));
  const absl::Time asked = clock_->Now();
  absl::StatusOr<v1::AcquireResponse> response = cache_->Acquire(request, CallDeadline(deadline));
  if (!response.ok()) {
    if (IsUnreachable(response.status())) return response.status();
    metrics_->OnLeaseConflict();
    return LeaseLost(session, response.status().message());
  }
  const v1::Manifest& stored = response->manifest();
  const absl::Status valid = CheckStoredManifest(stored, session.key, model_);
  MutexLock lock(session.mu);
  session.epoch = response->epoch();
  session.lease_confirmed = asked;
  if (!valid.ok() || !IsOurs(session, stored, expected_turn)) {
    metrics_->OnLeaseConflict();
    return LeaseLost(session, "has gone on elsewhere");
  }
  session.stored_version = stored.version();
  session.uncertain = false;
  size_t common = 0;
  while (common < session.stored_pages.size() &&
         common < static_cast<size_t>(stored.pages_size()) &&
         SameEntry(session.stored_pages[common], stored.pages(static_cast<int>(common)))) {
    ++common;
  }
  if (common < session.stored_pages.size()) session.unpushed = true;
  session.stored_pages.resize(common);
  return absl::OkStatus();
}

// Whether the stored session is one that this worker left there: the head, one that the head has
// outrun while the node was away, or the commit of `expected_turn` whose answer was lost.
bool CacheSync::IsOurs(const HotSession& session, const v1::Manifest& stored,
                       absl::string_view expected_turn) {
  const v1::Manifest& head = session.head;
  if (session.uncertain && !expected_turn.empty() && stored.version() == head.version() + 1) {
    return stored.last_turn_id() == expected_turn;
  }
  if (stored.version() == head.version()) return stored.last_turn_id() == head.last_turn_id();
  if (stored.version() < session.stored_version || stored.version() > head.version()) return false;
  return stored.committed_tokens() <= static_cast<uint32_t>(head.tokens_size()) &&
         std::equal(stored.tokens().begin(), stored.tokens().begin() + stored.committed_tokens(),
                    head.tokens().begin());
}

void CacheSync::AdoptUnstored(HotSession& session, v1::Manifest next) {
  MutexLock lock(session.mu);
  session.head = std::move(next);
  session.uncertain = false;
  session.unpushed = true;
}

absl::Status CacheSync::CommitTurn(HotSession& session, v1::Manifest next, absl::Time deadline) {
  MutexLock commit(session.commit_mu);
  const bool sync = next.durability() == v1::DURABLE;
  absl::Duration backoff = options_.backoff_min;
  bool reattached = false;
  for (;;) {
    absl::Status status = Commit(session, next, nullptr, sync, deadline);
    if (absl::IsAborted(status) && ErrorReason(status) == kReasonStaleEpoch && !reattached) {
      reattached = true;
      status = Reattach(session, next.last_turn_id(), deadline);
      if (status.ok()) continue;
    }
    {
      MutexLock lock(session.mu);
      if (status.ok()) {
        session.head = std::move(next);
        session.uncertain = false;
        session.unpushed = true;
        return status;
      }
      if (IsUnreachable(status)) session.uncertain = true;
    }
    if (!IsUnreachable(status) || absl::Now() + backoff >= deadline) return status;
    absl::SleepFor(backoff);
    backoff = std::min(2 * backoff, options_.backoff_max);
  }
}

absl::Status CacheSync::Publish(HotSession& session, const SessionTranscript& draft,
                                const WrittenPages* pages, uint64_t cuts, absl::Time deadline) {
  MutexLock commit(session.commit_mu);
  v1::Manifest manifest;
  {
    MutexLock lock(session.mu);
    if (session.dropped || session.cuts != cuts) {
      return absl::FailedPreconditionError("the session was cut meanwhile");
    }
    if (pages != nullptr && pages->entries.front().index() > session.stored_pages.size()) {
      return absl::FailedPreconditionError("the pages before are gone");
    }
    manifest = session.head;
  }
  // Transcripts only grow between cuts, so the longer one contains the other.
  if (draft.tokens.size() > static_cast<size_t>(manifest.tokens_size())) {
    SetTranscript(draft.tokens, draft.segments, &manifest);
  }
  return Commit(session, manifest, pages, /*sync=*/false, deadline);
}

absl::Status CacheSync::Commit(HotSession& session, const v1::Manifest& manifest,
                               const WrittenPages* pages, bool sync, absl::Time deadline) {
  v1::CommitRequest request;
  *request.mutable_manifest() = manifest;
  v1::Manifest& proposed = *request.mutable_manifest();
  proposed.set_updated_unix_ms(absl::ToUnixMillis(clock_->Now()));
  proposed.clear_pages();
  uint64_t version = 0;
  {
    MutexLock lock(session.mu);
    proposed.set_epoch(session.epoch);
    for (const v1::PageEntry& page : session.stored_pages) *proposed.add_pages() = page;
    // Between the stored version and this one lie turns that were acknowledged while the node was
    // away; it takes one version at a time.
    version = std::min(session.stored_version + 1, manifest.version());
  }
  proposed.set_kv_tokens(static_cast<uint32_t>(TokensIn(proposed.pages())));
  for (; version < manifest.version(); ++version) {
    proposed.set_version(version);
    const absl::Status status = CommitStep(session, request, deadline);
    if (IsAlreadyAt(status, version)) {
      // The answer to an earlier attempt was lost; under this epoch nobody else commits.
      MutexLock lock(session.mu);
      session.stored_version = version;
      continue;
    }
    LCKV_RETURN_IF_ERROR(status);
  }
  proposed.set_version(manifest.version());
  request.set_sync(sync);
  if (pages != nullptr) {
    request.set_reservation(pages->reservation);
    TruncatePages(proposed, static_cast<int>(pages->entries.front().index()));
    for (const v1::PageEntry& entry : pages->entries) {
      request.add_page_positions(static_cast<uint32_t>(proposed.pages_size()));
      *proposed.add_pages() = entry;
      proposed.set_kv_tokens(proposed.kv_tokens() + entry.tokens());
    }
  }
  return CommitStep(session, request, deadline);
}

absl::Status CacheSync::CommitStep(HotSession& session, const v1::CommitRequest& request,
                                   absl::Time deadline) {
  LCKV_ASSIGN_OR_RETURN(const v1::CommitResponse response,
                        cache_->Commit(request, CallDeadline(deadline)));
  const v1::Manifest& manifest = request.manifest();
  MutexLock lock(session.mu);
  session.stored_version = manifest.version();
  session.stored_pages.assign(manifest.pages().begin(), manifest.pages().end());
  if (response.kv_tokens() < manifest.kv_tokens()) {
    // The node has lost pages since.
    session.ForgetPagesFrom(static_cast<int32_t>(response.kv_tokens()));
    session.unpushed = true;
  }
  return absl::OkStatus();
}

absl::Status CacheSync::Cut(HotSession& session, int32_t tokens) {
  MutexLock commit(session.commit_mu);
  LCKV_RETURN_IF_ERROR(engine_->Truncate(session.engine_name, tokens));
  MutexLock lock(session.mu);
  ++session.cuts;
  session.ForgetPagesFrom(tokens);
  session.unpushed = true;
  return absl::OkStatus();
}

}  // namespace lckv::worker
