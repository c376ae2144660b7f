#include "services/worker/page_push.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/crc32c.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "rpc/outgoing_trace.h"
#include "services/worker/content_id.h"
#include "services/worker/manifest.h"

namespace lckv::worker {
namespace {

// A piece of a push: what is in memory, and on its way, at once.
constexpr int64_t kPieceBytes = int64_t{64} << 20;
constexpr int64_t kPiecePages = 256;

}  // namespace

// What the session looked like when the push began, and how far the push has come.
struct PagePush::Start {
  bool dropped = false;
  bool ahead = false;         // the head itself is not stored
  int32_t first_page = 0;     // the first that is not stored in full
  v1::PageEntry stored_tail;  // the stored part of it; tokens 0: none
  Sha256Digest parent{};      // content id of the page before it
  uint64_t epoch = 0;
  uint64_t cuts = 0;
  uint32_t passes = 0;
};

struct PagePush::Delta {
  CacheSync::WrittenPages pages;
  std::vector<const std::vector<uint8_t>*> bytes;  // of pages.entries
};

PagePush::PagePush(Engine* engine, CacheClient* cache, CacheSync* sync, WorkerMetrics* metrics)
    : engine_(engine), cache_(cache), sync_(sync), metrics_(metrics) {}

absl::Status PagePush::Push(HotSession& session, const TracePosition& trace) {
  MutexLock push(session.push_mu);
  const Start start = Begin(session);
  if (start.dropped) return absl::OkStatus();
  Span span = trace.StartSpan("push");
  const OutgoingTrace outgoing(FormatTraceparent(span.context()));
  const absl::Time began = absl::Now();
  const absl::StatusOr<uint64_t> pushed_bytes = PushDelta(session, start);
  // A push that a cut has overtaken is no failure.
  if (!absl::IsFailedPrecondition(pushed_bytes.status())) span.SetStatus(pushed_bytes.status());
  span.Set("lckv.push.bytes", pushed_bytes.value_or(0));
  if (!pushed_bytes.ok()) {
    MutexLock lock(session.mu);
    session.unpushed = true;
  }
  metrics_->OnPush(pushed_bytes.status(), absl::Now() - began, pushed_bytes.value_or(0));
  return pushed_bytes.status();
}

PagePush::Start PagePush::Begin(HotSession& session) {
  MutexLock lock(session.mu);
  Start start;
  start.dropped = session.dropped;
  start.ahead = session.AheadOfStore();
  start.epoch = session.epoch;
  start.cuts = session.cuts;
  start.passes = session.head.passes();
  const auto page_tokens = session.head.tokens_per_page();
  for (const v1::PageEntry& page : session.stored_pages) {
    if (page.tokens() < page_tokens) {
      start.stored_tail = page;
      break;
    }
    ++start.first_page;
    if (page.content_id().size() == start.parent.size()) {
      std::copy(page.content_id().begin(), page.content_id().end(), start.parent.begin());
    }
  }
  session.unpushed = false;
  return start;
}

absl::StatusOr<uint64_t> PagePush::PushDelta(HotSession& session, Start start) {
  const absl::Time deadline = absl::Now() + sync_->options().push_timeout;
  const auto page_bytes = static_cast<int64_t>(sync_->model().page_bytes);
  const auto most_pages =
      static_cast<int32_t>(std::clamp<int64_t>(kPieceBytes / page_bytes, 1, kPiecePages));
  uint64_t pushed_bytes = 0;
  for (;;) {
    LCKV_ASSIGN_OR_RETURN(const SessionExport exported,
                          engine_->Export(session.engine_name, start.first_page, most_pages));
    LCKV_ASSIGN_OR_RETURN(const uint64_t bytes, PushPiece(session, exported, deadline, start));
    pushed_bytes += bytes;
    const int64_t tokens = int64_t{start.first_page} * sync_->model().tokens_per_page;
    if (exported.pages.empty() || exported.transcript.kv_tokens <= tokens) return pushed_bytes;
  }
}

absl::StatusOr<uint64_t> PagePush::PushPiece(HotSession& session, const SessionExport& exported,
                                             absl::Time deadline, Start& start) {
  const bool ahead = std::exchange(start.ahead, false);
  Delta delta = MakeDelta(exported, session.key, start);
  start.first_page += static_cast<int32_t>(exported.pages.size());
  if (delta.pages.entries.empty()) {
    if (!ahead) return 0;
    LCKV_RETURN_IF_ERROR(sync_->Publish(session, {}, nullptr, start.cuts, deadline));
    return 0;
  }
  absl::Status status = Write(session, start, delta, deadline);
  if (status.ok()) {
    status = sync_->Publish(session, exported.transcript, &delta.pages, start.cuts, deadline);
  }
  if (!status.ok()) {
    if (delta.pages.reservation != 0) {
      v1::ReleaseRequest request;
      request.set_tenant(session.key.tenant);
      request.set_session_id(session.key.session_id);
      request.set_worker_id(sync_->options().worker_id);
      request.set_reservation(delta.pages.reservation);
      // Best effort: a reservation that nobody releases runs out.
      cache_->Release(request, absl::Now() + sync_->options().call_timeout).IgnoreError();
    }
    return status;
  }
  return delta.bytes.size() * sync_->model().page_bytes;
}

PagePush::Delta PagePush::MakeDelta(const SessionExport& exported, const SessionKey& key,
                                    Start& start) const {
  const int32_t page_tokens = sync_->model().tokens_per_page;
  const SessionTranscript& transcript = exported.transcript;
  const ContentContext context = {key.tenant, sync_->model().fingerprint,
                                  sync_->model().numerics_class, start.passes};
  Delta delta;
  for (size_t i = 0; i < exported.pages.size(); ++i) {
    const int32_t index = exported.first_page + static_cast<int32_t>(i);
    const int32_t begin = index * page_tokens;
    const int32_t tokens = std::min(page_tokens, transcript.kv_tokens - begin);
    if (tokens <= 0) break;
    v1::PageEntry entry;
    entry.set_index(static_cast<uint32_t>(index));
    entry.set_tokens(static_cast<uint32_t>(tokens));
    entry.set_crc32c(Crc32c(exported.pages[i].data(), exported.pages[i].size()));
    if (tokens == page_tokens) {
      start.parent = PageContentId(context, start.parent,
                                   absl::MakeConstSpan(transcript.tokens).subspan(begin, tokens),
                                   SegmentStarts(transcript.segments, begin, tokens));
      entry.set_content_id(start.parent.data(), start.parent.size());
    }
    const bool stored = i == 0 && start.stored_tail.tokens() == entry.tokens() &&
                        start.stored_tail.crc32c() == entry.crc32c();
    if (stored) continue;
    delta.pages.entries.push_back(std::move(entry));
    delta.bytes.push_back(&exported.pages[i]);
  }
  start.stored_tail.Clear();
  return delta;
}

absl::Status PagePush::Write(const HotSession& session, const Start& start, Delta& delta,
                             absl::Time deadline) {
  v1::ReserveRequest request;
  request.set_tenant(session.key.tenant);
  request.set_session_id(session.key.session_id);
  request.set_epoch(start.epoch);
  request.set_pages(static_cast<uint32_t>(delta.bytes.size()));
  request.set_page_bytes(sync_->model().page_bytes);
  LCKV_ASSIGN_OR_RETURN(const v1::ReserveResponse reserved, cache_->Reserve(request, deadline));
  delta.pages.reservation = reserved.reservation();
  if (reserved.extents_size() != static_cast<int>(delta.bytes.size())) {
    return absl::InternalError(absl::StrCat("Reserve: ", reserved.extents_size(), " extents for ",
                                            delta.bytes.size(), " pages"));
  }
  std::vector<PageWrite> writes(delta.bytes.size());
  for (size_t i = 0; i < writes.size(); ++i) {
    const v1::Extent& extent = reserved.extents(static_cast<int>(i));
    if (extent.length() != delta.bytes[i]->size()) {
      return absl::InternalError(absl::StrCat("Reserve: an extent of ", extent.length(), " bytes"));
    }
    writes[i].extent_index = static_cast<uint32_t>(i);
    writes[i].extent = {extent.region(), extent.generation(), extent.offset(), extent.length()};
    writes[i].data = delta.bytes[i]->data();
  }
  return cache_->transport().Write(delta.pages.reservation, writes, deadline);
}

}  // namespace lckv::worker
