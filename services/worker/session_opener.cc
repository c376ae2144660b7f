#include "services/worker/session_opener.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/error_info.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "base/units.h"
#include "cache/image/manifest.h"
#include "services/worker/manifest.h"

namespace lckv::worker {
namespace {

// Pages of one transport call: what a failure in the middle costs at most.
constexpr size_t kPagesPerRead = 64;
constexpr int kReserveAttempts = 3;
constexpr absl::Duration kEndReadLeaseTimeout = absl::Seconds(1);

}  // namespace

AcquiredSession::AcquiredSession(CacheClient* cache, v1::AcquireResponse response)
    : cache_(cache), response_(std::make_unique<v1::AcquireResponse>(std::move(response))) {}

void AcquiredSession::EndReadLease() {
  if (response_ == nullptr || response_->read_lease() == 0) return;
  v1::ReleaseRequest request;
  request.set_tenant(manifest().tenant());
  request.set_session_id(manifest().session_id());
  request.set_read_lease(response_->read_lease());
  // Best effort: a read lease runs out.
  cache_->Release(request, absl::Now() + kEndReadLeaseTimeout).IgnoreError();
  response_->set_read_lease(0);
}

SessionOpener::SessionOpener(Engine* engine, CacheClient* cache, CacheSync* sync, Evictor* evictor,
                             const Options& options, Clock* clock, WorkerMetrics* metrics)
    : engine_(engine),
      cache_(cache),
      sync_(sync),
      evictor_(evictor),
      options_(options),
      clock_(clock),
      metrics_(metrics) {}

absl::StatusOr<AcquiredSession> SessionOpener::Acquire(HotSession& session,
                                                       const AcquireOptions& options,
                                                       absl::Time deadline) {
  v1::AcquireRequest request;
  request.set_tenant(session.key.tenant);
  request.set_session_id(session.key.session_id);
  request.set_worker_id(sync_->options().worker_id);
  request.set_lease_ttl_ms(
      static_cast<uint32_t>(absl::ToInt64Milliseconds(sync_->options().lease_ttl)));
  request.set_create(options.create);
  request.set_takeover(options.takeover);
  request.set_want_pages(true);
  *request.mutable_encode() = options.encode;
  request.set_durability(options.durability);
  const absl::Time asked = clock_->Now();
  absl::StatusOr<v1::AcquireResponse> response =
      cache_->Acquire(request, std::min(deadline, absl::Now() + options_.restore_timeout));
  if (!response.ok()) {
    if (absl::IsAborted(response.status())) metrics_->OnLeaseConflict();
    return response.status();
  }
  AcquiredSession acquired(cache_, *std::move(response));
  {
    MutexLock lock(session.mu);
    session.epoch = acquired.response().epoch();
  }
  absl::Status status = CheckModel(acquired);
  if (status.ok()) {
    status = CheckStoredManifest(acquired.manifest(), session.key, sync_->model());
  }
  if (!status.ok()) {
    acquired.EndReadLease();
    sync_->ReleaseLease(session);
    return status;
  }
  FillSession(session, acquired, options, asked);
  return acquired;
}

absl::Status SessionOpener::CheckModel(AcquiredSession& acquired) {
  const v1::Manifest& manifest = acquired.manifest();
  if (manifest.tokens().empty()) return absl::OkStatus();
  acquired.kv_changed = manifest.fingerprint() != sync_->model().fingerprint;
  if (acquired.kv_changed) {
    metrics_->OnFingerprintMismatch();
    // Token ids mean nothing to a smaller vocabulary.
    const bool foreign =
        std::any_of(manifest.tokens().begin(), manifest.tokens().end(),
                    [&](int32_t token) { return token >= sync_->model().vocab_size; });
    if (foreign || options_.fingerprint == FingerprintPolicy::kRefuse) {
      return WithErrorInfo(
          absl::FailedPreconditionError(absl::StrCat(
              "session ", manifest.session_id(), " was computed by another model or KV format")),
          {kReasonFingerprint, {}});
    }
    LogWarning("another model's KV is not used", {{"session", manifest.session_id()}});
  }
  acquired.numerics_changed = manifest.numerics_class() != sync_->model().numerics_class;
  if (acquired.numerics_changed && !acquired.kv_changed &&
      options_.numerics == NumericsPolicy::kSame) {
    return WithErrorInfo(
        absl::FailedPreconditionError(absl::StrCat(
            "session ", manifest.session_id(), " was computed in numerics class ",
            manifest.numerics_class(), ", this worker's is ", sync_->model().numerics_class)),
        {kReasonNumerics, {{"numerics_class", manifest.numerics_class()}}});
  }
  return absl::OkStatus();
}

void SessionOpener::FillSession(HotSession& session, const AcquiredSession& acquired,
                                const AcquireOptions& options, absl::Time asked) {
  const v1::Manifest& manifest = acquired.manifest();
  const ModelIdentity& model = sync_->model();
  MutexLock lock(session.mu);
  session.lease_confirmed = asked;
  session.stored_version = manifest.version();
  session.head = manifest;
  v1::Manifest& head = session.head;
  head.clear_pages();
  head.set_kv_tokens(0);
  std::vector<SegmentRun> segments = ToEngineSegments(manifest);
  TruncateSegments(static_cast<int32_t>(manifest.committed_tokens()), segments);
  SetTranscript(
      absl::MakeConstSpan(manifest.tokens().data(), static_cast<size_t>(manifest.tokens_size()))
          .first(manifest.committed_tokens()),
      segments, &head);
  if (manifest.tokens().empty() && acquired.response().created()) {
    *head.mutable_encode() = options.encode;
    head.set_durability(options.durability);
  }
  // K is fixed when the session gets its first tokens, whatever the model's default is later.
  session.policy = ToEnginePolicy(head.encode());
  if (!manifest.tokens().empty() && manifest.passes() > 0) {
    session.policy.passes = static_cast<int32_t>(manifest.passes());
  }
  head.set_passes(static_cast<uint32_t>(engine_->passes(session.policy)));
  head.set_format_version(kManifestFormatVersion);
  head.set_fingerprint(model.fingerprint);
  head.set_numerics_class(model.numerics_class);
  head.set_tokens_per_page(static_cast<uint32_t>(model.tokens_per_page));
  head.set_page_bytes(model.page_bytes);
}

absl::StatusOr<RestoreReport> SessionOpener::Open(HotSession& session, AcquiredSession& acquired,
                                                  const Opening& opening, absl::Time deadline) {
  const absl::Time began = absl::Now();
  const v1::Manifest& manifest = acquired.manifest();
  RestoreReport report;
  std::vector<v1::PageEntry> pages = UsablePages(manifest, sync_->model());
  if (pages.empty() && manifest.kv_tokens() > 0) report.outcome = RestoreOutcome::kLayout;
  // The last generated token has no KV yet; more missing is a loss.
  if (static_cast<int32_t>(manifest.kv_tokens()) + 1 < opening.tokens) {
    report.outcome = RestoreOutcome::kAbsent;
  }
  pages.resize(std::min(
      pages.size(), static_cast<size_t>(CeilDiv(opening.tokens, sync_->model().tokens_per_page))));
  std::unique_ptr<PageImport> import;
  size_t good_pages = 0;
  if (!pages.empty()) {
    absl::StatusOr<std::unique_ptr<PageImport>> reserved =
        Reserve(static_cast<int64_t>(pages.size()));
    if (reserved.ok()) {
      import = *std::move(reserved);
      good_pages =
          ReadPages(acquired, pages, *import,
                    std::min(deadline, absl::Now() + options_.restore_timeout), &report.outcome);
    } else {
      report.outcome = RestoreOutcome::kPoolFull;
    }
  }
  acquired.EndReadLease();
  pages.resize(good_pages);
  if (good_pages == 0) import.reset();
  SessionTranscript transcript;
  transcript.tokens.assign(manifest.tokens().begin(), manifest.tokens().begin() + opening.tokens);
  transcript.segments = opening.segments;
  transcript.kv_tokens = static_cast<int32_t>(std::min<int64_t>(TokensIn(pages), opening.tokens));
  report.tokens = transcript.kv_tokens;
  report.bytes = good_pages * sync_->model().page_bytes;
  EncodePolicy policy;
  {
    MutexLock lock(session.mu);
    policy = session.policy;
    session.stored_pages = std::move(pages);
    session.ForgetPagesFrom(opening.tokens);
    session.unpushed = session.stored_pages.size() != static_cast<size_t>(manifest.pages_size());
  }
  LCKV_RETURN_IF_ERROR(
      engine_->OpenSession(session.engine_name, policy, std::move(transcript), std::move(import)));
  report.time = absl::Now() - began;
  if (manifest.committed_tokens() > 0) {
    metrics_->OnRestore(report.outcome, report.time, report.bytes);
  }
  return report;
}

absl::StatusOr<std::unique_ptr<PageImport>> SessionOpener::Reserve(int64_t pages) {
  absl::StatusOr<std::unique_ptr<PageImport>> import = engine_->ReserveImport(pages);
  for (int attempt = 1; attempt < kReserveAttempts && absl::IsResourceExhausted(import.status());
       ++attempt) {
    if (!evictor_->MakeRoom(pages)) break;
    import = engine_->ReserveImport(pages);
  }
  return import;
}

size_t SessionOpener::ReadPages(const AcquiredSession& acquired,
                                absl::Span<const v1::PageEntry> pages, PageImport& import,
                                absl::Time deadline, RestoreOutcome* outcome) {
  const auto& extents = acquired.response().extents();
  size_t available = 0;
  while (available < pages.size() && available < static_cast<size_t>(extents.size()) &&
         extents.Get(static_cast<int>(available)).length() == sync_->model().page_bytes) {
    ++available;
  }
  if (acquired.response().read_lease() == 0) available = 0;
  if (available < pages.size()) *outcome = RestoreOutcome::kAbsent;

  absl::Status status;
  for (size_t landed = 0; landed < available && status.ok();) {
    const absl::StatusOr<size_t> some =
        ReadSome(acquired, pages.first(available), landed, import, deadline);
    status = some.status();
    landed += some.value_or(0);
  }
  const absl::StatusOr<int64_t> intact = import.Finish();
  // A lost device ends the session's next turn; here it is one more reason to have no page.
  if (!intact.ok()) status = intact.status();
  const auto good = static_cast<size_t>(intact.value_or(0));
  if (status.ok() && good < available) status = absl::DataLossError("checksum differs");
  if (status.ok()) return good;
  const std::string& session = acquired.manifest().session_id();
  if (absl::IsDataLoss(status)) {
    LogError("page checksum differs", {{"session", session}, {"page", good}});
    metrics_->OnChecksumFailure();
    *outcome = RestoreOutcome::kCorrupt;
    return good;
  }
  LogWarning("restore cut short",
             {{"session", session}, {"page", good}, {"error", status.ToString()}});
  *outcome =
      absl::IsDeadlineExceeded(status) ? RestoreOutcome::kTimeout : RestoreOutcome::kTransport;
  return good;
}

absl::StatusOr<size_t> SessionOpener::ReadSome(const AcquiredSession& acquired,
                                               absl::Span<const v1::PageEntry> pages, size_t begin,
                                               PageImport& import, absl::Time deadline) {
  const size_t wanted = std::min(kPagesPerRead, pages.size() - begin);
  LCKV_ASSIGN_OR_RETURN(const absl::Span<void* const> buffers,
                        import.Stage(static_cast<int64_t>(wanted), deadline));
  std::vector<PageRead> reads;
  std::vector<uint32_t> crc32c;
  for (size_t i = 0; i < buffers.size(); ++i) {
    const v1::Extent& extent = acquired.response().extents(static_cast<int>(begin + i));
    reads.push_back({static_cast<uint32_t>(begin + i),
                     {extent.region(), extent.generation(), extent.offset(), extent.length()},
                     buffers[i]});
    crc32c.push_back(pages[begin + i].crc32c());
  }
  absl::Status status = cache_->transport().Read(acquired.response().read_lease(), reads, deadline);
  if (status.ok()) status = import.Landed(crc32c);
  if (!status.ok()) return status;
  return reads.size();
}

}  // namespace lckv::worker
