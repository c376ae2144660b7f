#include <array>
#include <functional>
#include <optional>
#include <unordered_map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/error_info.h"
#include "base/log.h"
#include "base/mutex.h"
#include "base/status_macros.h"
#include "cache/image/manifest.h"
#include "cache/image/session_record.h"
#include "cache/store/commit_rules.h"
#include "cache/store/lease_record.h"
#include "cache/store/session_store.h"

namespace lckv {
namespace {

constexpr char kEpochLimitKey[] = "epoch_limit";
// Epochs claimed on disk at a time. A restart skips what is left of a claim.
constexpr uint64_t kEpochClaim = uint64_t{1} << 16;
constexpr size_t kStripes = 256;

absl::Status StaleEpoch(const SessionName& name, uint64_t epoch) {
  return WithErrorInfo(absl::AbortedError(absl::StrCat("session ", name.session_id,
                                                       ": the lease of epoch ", epoch, " is gone")),
                       {kReasonStaleEpoch, {}});
}

absl::Status NoSession(const SessionName& name) {
  return absl::NotFoundError(absl::StrCat("session ", name.session_id, ": not found"));
}

class LocalSessionStore final : public SessionStore {
 public:
  LocalSessionStore(std::unique_ptr<KeyValue> key_value, const SessionStoreOptions& options)
      : key_value_(std::move(key_value)), options_(options) {}

  // Claims epochs and counts the sessions. Call before anything else.
  absl::Status Start();

  absl::StatusOr<Lease> Acquire(const SessionName& name, const LeaseRequest& request) override;
  absl::Status Renew(const SessionName& name, absl::string_view holder, uint64_t epoch,
                     absl::Duration ttl) override;
  absl::Status Release(const SessionName& name, uint64_t epoch) override;
  absl::Status CheckEpoch(const SessionName& name, uint64_t epoch) override;
  absl::StatusOr<CommitOutcome> Commit(const v1::Manifest& manifest,
                                       absl::Span<const NewPage> pages, bool sync) override;
  absl::Status DropPagesFrom(const SessionName& name, const v1::PageEntry& bad) override;
  absl::StatusOr<SessionView> Get(const SessionName& name) override;
  absl::Status ReadPage(const SessionName& name, const v1::PageEntry& page,
                        absl::Span<char> out) override {
    return key_value_->GetInto(Table::kPages, PageKeyOf(name, page), out);
  }
  absl::Status Delete(const SessionName& name) override;
  absl::StatusOr<SessionList> List(absl::string_view tenant, absl::string_view after,
                                   size_t limit) override;
  size_t session_count() const override;
  uint64_t ApproximateBytes() override { return key_value_->ApproximateBytes(); }

 private:
  struct HeldLease {
    LeaseRecord record;
    absl::Time expires;  // InfinitePast: free
  };
  // Sessions are spread over stripes; whatever reads, decides and writes holds the session's.
  // Lock order: a stripe, then counters_mu_.
  struct Stripe {
    Mutex mu;
    std::unordered_map<std::string, HeldLease> leases ABSL_GUARDED_BY(mu);  // by session key
  };

  Stripe& StripeOf(const std::string& key) {
    return stripes_[std::hash<std::string>()(key) % kStripes];
  }

  absl::StatusOr<v1::Manifest> ReadRecord(const SessionName& name, const std::string& key);
  // The session's lease from memory, else from the store as a free one. Nothing: it has none (a new
  // session, or a damaged record: then no epoch is current).
  absl::StatusOr<std::optional<HeldLease>> FindLease(Stripe& stripe, const std::string& key)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(stripe.mu);
  absl::Status CheckEpochLocked(Stripe& stripe, const SessionName& name, const std::string& key,
                                uint64_t epoch) ABSL_EXCLUSIVE_LOCKS_REQUIRED(stripe.mu);
  void Remember(Stripe& stripe, const std::string& key, HeldLease lease)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(stripe.mu);
  absl::Status CheckFree(const std::optional<HeldLease>& lease, const LeaseRequest& request);

  v1::Manifest NewManifest(const SessionName& name, const LeaseRequest& request);
  absl::StatusOr<uint64_t> NextEpoch();
  // Counts one more session, or RESOURCE_EXHAUSTED.
  absl::Status CountNewSession();
  void UncountSession();
  int64_t NowUnixMs() { return absl::ToUnixMillis(options_.clock->Now()); }

  const std::unique_ptr<KeyValue> key_value_;
  const SessionStoreOptions options_;
  std::array<Stripe, kStripes> stripes_;

  mutable Mutex counters_mu_;
  uint64_t next_epoch_ ABSL_GUARDED_BY(counters_mu_) = 1;
  uint64_t epoch_limit_ ABSL_GUARDED_BY(counters_mu_) = 1;
  size_t session_count_ ABSL_GUARDED_BY(counters_mu_) = 0;
};

absl::Status LocalSessionStore::Start() {
  MutexLock lock(counters_mu_);
  absl::StatusOr<std::string> stored = key_value_->Get(Table::kMeta, kEpochLimitKey);
  if (stored.ok()) {
    LCKV_ASSIGN_OR_RETURN(epoch_limit_, DecodeEpochLimit(*stored));
  } else if (!absl::IsNotFound(stored.status())) {
    return stored.status();
  }
  next_epoch_ = epoch_limit_;
  size_t count = 0;
  LCKV_RETURN_IF_ERROR(
      key_value_->Scan(Table::kSessions, "", "", [&count](absl::string_view, absl::string_view) {
        ++count;
        return true;
      }));
  session_count_ = count;
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> LocalSessionStore::NextEpoch() {
  MutexLock lock(counters_mu_);
  if (next_epoch_ == epoch_limit_) {
    const uint64_t limit = epoch_limit_ + kEpochClaim;
    const std::string value = EncodeEpochLimit(limit);
    WriteBatch batch;
    batch.Put(Table::kMeta, kEpochLimitKey, value);
    LCKV_RETURN_IF_ERROR(key_value_->Write(batch, true));
    epoch_limit_ = limit;
  }
  return next_epoch_++;
}

absl::Status LocalSessionStore::CountNewSession() {
  MutexLock lock(counters_mu_);
  if (session_count_ >= options_.max_sessions) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the cache node has its ", options_.max_sessions, " sessions"));
  }
  ++session_count_;
  return absl::OkStatus();
}

void LocalSessionStore::UncountSession() {
  MutexLock lock(counters_mu_);
  LCKV_CHECK(session_count_ > 0);
  --session_count_;
}

size_t LocalSessionStore::session_count() const {
  MutexLock lock(counters_mu_);
  return session_count_;
}

absl::StatusOr<v1::Manifest> LocalSessionStore::ReadRecord(const SessionName& name,
                                                           const std::string& key) {
  absl::StatusOr<std::string> bytes = key_value_->Get(Table::kSessions, key);
  if (absl::IsNotFound(bytes.status())) return NoSession(name);
  LCKV_RETURN_IF_ERROR(bytes.status());
  absl::StatusOr<v1::Manifest> manifest = DecodeSessionRecord(*bytes);
  if (!manifest.ok()) return Annotate(manifest.status(), absl::StrCat("session ", name.session_id));
  return manifest;
}

absl::StatusOr<std::optional<LocalSessionStore::HeldLease>> LocalSessionStore::FindLease(
    Stripe& stripe, const std::string& key) {
  if (const auto it = stripe.leases.find(key); it != stripe.leases.end()) {
    return std::optional<HeldLease>(it->second);
  }
  absl::StatusOr<std::string> bytes = key_value_->Get(Table::kLeases, key);
  if (absl::IsNotFound(bytes.status())) return std::optional<HeldLease>();
  LCKV_RETURN_IF_ERROR(bytes.status());
  absl::StatusOr<LeaseRecord> record = DecodeLeaseRecord(*bytes);
  if (!record.ok()) {
    LogWarning("lease record dropped", {{"error", record.status().message()}});
    return std::optional<HeldLease>();
  }
  return std::optional<HeldLease>({*std::move(record), absl::InfinitePast()});
}

absl::Status LocalSessionStore::CheckEpochLocked(Stripe& stripe, const SessionName& name,
                                                 const std::string& key, uint64_t epoch) {
  LCKV_ASSIGN_OR_RETURN(const std::optional<HeldLease> lease, FindLease(stripe, key));
  const bool current =
      lease.has_value() && !lease->record.holder.empty() && lease->record.epoch == epoch;
  return current ? absl::OkStatus() : StaleEpoch(name, epoch);
}

void LocalSessionStore::Remember(Stripe& stripe, const std::string& key, HeldLease lease) {
  if (stripe.leases.size() >= options_.leases_before_sweep) {
    const absl::Time now = options_.clock->Now();
    for (auto it = stripe.leases.begin(); it != stripe.leases.end();) {
      it = it->second.expires <= now ? stripe.leases.erase(it) : std::next(it);
    }
  }
  stripe.leases[key] = std::move(lease);
}

absl::Status LocalSessionStore::CheckFree(const std::optional<HeldLease>& lease,
                                          const LeaseRequest& request) {
  if (!lease.has_value() || request.takeover || lease->record.holder == request.holder) {
    return absl::OkStatus();
  }
  const absl::Time now = options_.clock->Now();
  if (lease->expires <= now) return absl::OkStatus();
  return WithRetryAfter(
      WithErrorInfo(absl::AbortedError(absl::StrCat("held by ", lease->record.holder)),
                    {kReasonLeaseHeld, {{"holder", lease->record.holder}}}),
      lease->expires - now);
}

v1::Manifest LocalSessionStore::NewManifest(const SessionName& name, const LeaseRequest& request) {
  v1::Manifest manifest;
  manifest.set_format_version(kManifestFormatVersion);
  manifest.set_tenant(name.tenant);
  manifest.set_session_id(name.session_id);
  *manifest.mutable_encode() = request.encode;
  manifest.set_durability(request.durability);
  manifest.set_created_unix_ms(NowUnixMs());
  manifest.set_updated_unix_ms(manifest.created_unix_ms());
  return manifest;
}

absl::StatusOr<Lease> LocalSessionStore::Acquire(const SessionName& name,
                                                 const LeaseRequest& request) {
  const std::string key = SessionKeyOf(name);
  Stripe& stripe = StripeOf(key);
  MutexLock lock(stripe.mu);
  Lease lease;
  absl::StatusOr<v1::Manifest> stored = ReadRecord(name, key);
  lease.created = absl::IsNotFound(stored.status()) && request.create;
  if (!stored.ok() && !lease.created) return stored.status();
  LCKV_ASSIGN_OR_RETURN(const std::optional<HeldLease> held, FindLease(stripe, key));
  LCKV_RETURN_IF_ERROR(CheckFree(held, request));
  LCKV_ASSIGN_OR_RETURN(lease.epoch, NextEpoch());
  lease.manifest = lease.created ? NewManifest(name, request) : *std::move(stored);
  lease.manifest.set_epoch(lease.epoch);

  const LeaseRecord record = {lease.epoch, request.holder};
  const std::string lease_bytes = EncodeLeaseRecord(record);
  std::string session_bytes;
  WriteBatch batch;
  batch.Put(Table::kLeases, key, lease_bytes);
  if (lease.created) {
    LCKV_ASSIGN_OR_RETURN(session_bytes, EncodeSessionRecord(lease.manifest));
    batch.Put(Table::kSessions, key, session_bytes);
    LCKV_RETURN_IF_ERROR(CountNewSession());
  }
  const bool sync = lease.created && lease.manifest.durability() == v1::DURABLE;
  if (absl::Status status = key_value_->Write(batch, sync); !status.ok()) {
    if (lease.created) UncountSession();
    return status;
  }
  Remember(stripe, key, {record, options_.clock->Now() + request.ttl});
  return lease;
}

absl::Status LocalSessionStore::Renew(const SessionName& name, absl::string_view holder,
                                      uint64_t epoch, absl::Duration ttl) {
  const std::string key = SessionKeyOf(name);
  Stripe& stripe = StripeOf(key);
  MutexLock lock(stripe.mu);
  LCKV_ASSIGN_OR_RETURN(std::optional<HeldLease> lease, FindLease(stripe, key));
  if (!lease.has_value() || lease->record.epoch != epoch || lease->record.holder != holder) {
    return StaleEpoch(name, epoch);
  }
  lease->expires = options_.clock->Now() + ttl;
  Remember(stripe, key, *std::move(lease));
  return absl::OkStatus();
}

absl::Status LocalSessionStore::Release(const SessionName& name, uint64_t epoch) {
  const std::string key = SessionKeyOf(name);
  Stripe& stripe = StripeOf(key);
  MutexLock lock(stripe.mu);
  if (!CheckEpochLocked(stripe, name, key, epoch).ok()) return absl::OkStatus();
  const std::string value = EncodeLeaseRecord({epoch, ""});
  WriteBatch batch;
  batch.Put(Table::kLeases, key, value);
  LCKV_RETURN_IF_ERROR(key_value_->Write(batch, false));
  stripe.leases.erase(key);
  return absl::OkStatus();
}

absl::Status LocalSessionStore::CheckEpoch(const SessionName& name, uint64_t epoch) {
  const std::string key = SessionKeyOf(name);
  Stripe& stripe = StripeOf(key);
  MutexLock lock(stripe.mu);
  return CheckEpochLocked(stripe, name, key, epoch);
}

absl::StatusOr<CommitOutcome> LocalSessionStore::Commit(const v1::Manifest& manifest,
                                                        absl::Span<const NewPage> pages,
                                                        bool sync) {
  const SessionName name = NameOf(manifest);
  const std::string key = SessionKeyOf(name);
  std::vector<uint32_t> positions;
  positions.reserve(pages.size());
  for (const NewPage& page : pages) positions.push_back(page.position);

  Stripe& stripe = StripeOf(key);
  MutexLock lock(stripe.mu);
  LCKV_RETURN_IF_ERROR(CheckEpochLocked(stripe, name, key, manifest.epoch()));
  LCKV_ASSIGN_OR_RETURN(const v1::Manifest stored, ReadRecord(name, key));
  LCKV_ASSIGN_OR_RETURN(CommitPlan plan, PlanCommit(stored, manifest, positions));
  plan.manifest.set_updated_unix_ms(NowUnixMs());
  LCKV_ASSIGN_OR_RETURN(const std::string record, EncodeSessionRecord(plan.manifest));

  WriteBatch batch;
  batch.Put(Table::kSessions, key, record);
  for (const v1::PageEntry& page : plan.superseded) {
    batch.Delete(Table::kPages, PageKeyOf(name, page));
  }
  for (const uint32_t i : plan.pages_to_store) {
    const v1::PageEntry& entry = manifest.pages(static_cast<int>(pages[i].position));
    batch.Put(Table::kPages, PageKeyOf(name, entry), pages[i].bytes);
  }
  LCKV_RETURN_IF_ERROR(key_value_->Write(batch, sync));
  return CommitOutcome{plan.manifest.kv_tokens(), std::move(plan.pages_to_store),
                       std::move(plan.superseded)};
}

absl::Status LocalSessionStore::DropPagesFrom(const SessionName& name, const v1::PageEntry& bad) {
  const std::string key = SessionKeyOf(name);
  Stripe& stripe = StripeOf(key);
  MutexLock lock(stripe.mu);
  absl::StatusOr<v1::Manifest> manifest = ReadRecord(name, key);
  if (absl::IsNotFound(manifest.status())) return absl::OkStatus();
  LCKV_RETURN_IF_ERROR(manifest.status());
  const int first = static_cast<int>(bad.index());
  if (first >= manifest->pages_size() || manifest->pages(first).crc32c() != bad.crc32c() ||
      manifest->pages(first).tokens() != bad.tokens()) {
    return absl::OkStatus();
  }
  WriteBatch batch;
  for (int i = first; i < manifest->pages_size(); ++i) {
    batch.Delete(Table::kPages, PageKeyOf(name, manifest->pages(i)));
  }
  TruncatePages(*manifest, first);
  LCKV_ASSIGN_OR_RETURN(const std::string record, EncodeSessionRecord(*manifest));
  batch.Put(Table::kSessions, key, record);
  return key_value_->Write(batch, false);
}

absl::StatusOr<SessionView> LocalSessionStore::Get(const SessionName& name) {
  const std::string key = SessionKeyOf(name);
  Stripe& stripe = StripeOf(key);
  MutexLock lock(stripe.mu);
  SessionView view;
  LCKV_ASSIGN_OR_RETURN(view.manifest, ReadRecord(name, key));
  view.transcript_tokens = static_cast<uint32_t>(view.manifest.tokens_size());
  view.kv_bytes = view.manifest.page_bytes() * static_cast<uint64_t>(view.manifest.pages_size());
  const auto it = stripe.leases.find(key);
  if (it != stripe.leases.end() && it->second.expires > options_.clock->Now()) {
    view.lease_holder = it->second.record.holder;
  }
  return view;
}

absl::Status LocalSessionStore::Delete(const SessionName& name) {
  const std::string key = SessionKeyOf(name);
  Stripe& stripe = StripeOf(key);
  MutexLock lock(stripe.mu);
  const absl::StatusOr<v1::Manifest> manifest = ReadRecord(name, key);
  if (absl::IsNotFound(manifest.status())) return manifest.status();
  WriteBatch batch;
  batch.Delete(Table::kSessions, key);
  batch.Delete(Table::kLeases, key);
  if (manifest.ok()) {
    for (const v1::PageEntry& page : manifest->pages()) {
      batch.Delete(Table::kPages, PageKeyOf(name, page));
    }
  } else {
    // A damaged record no longer says which pages there are.
    LCKV_RETURN_IF_ERROR(key_value_->Scan(Table::kPages, PagePrefix(name), "",
                                          [&](absl::string_view page_key, absl::string_view) {
                                            batch.Delete(Table::kPages, std::string(page_key));
                                            return true;
                                          }));
  }
  LCKV_RETURN_IF_ERROR(key_value_->Write(batch, true));
  stripe.leases.erase(key);
  UncountSession();
  return absl::OkStatus();
}

absl::StatusOr<SessionList> LocalSessionStore::List(absl::string_view tenant,
                                                    absl::string_view after, size_t limit) {
  LCKV_CHECK(limit > 0);
  const std::string prefix = TenantPrefix(tenant);
  std::vector<std::string> ids;
  LCKV_RETURN_IF_ERROR(key_value_->Scan(Table::kSessions, prefix, absl::StrCat(prefix, after),
                                        [&](absl::string_view key, absl::string_view) {
                                          ids.emplace_back(key.substr(prefix.size()));
                                          return ids.size() < limit;
                                        }));
  SessionList list;
  if (ids.size() == limit) list.next_after = ids.back();
  for (std::string& id : ids) {
    absl::StatusOr<SessionView> view = Get({std::string(tenant), std::move(id)});
    if (!view.ok()) continue;
    view->manifest.clear_tokens();
    view->manifest.clear_segments();
    view->manifest.clear_pages();
    list.sessions.push_back(*std::move(view));
  }
  return list;
}

}  // namespace

absl::StatusOr<std::unique_ptr<SessionStore>> OpenSessionStore(std::unique_ptr<KeyValue> key_value,
                                                               const SessionStoreOptions& options) {
  auto store = std::make_unique<LocalSessionStore>(std::move(key_value), options);
  LCKV_RETURN_IF_ERROR(store->Start());
  return std::unique_ptr<SessionStore>(std::move(store));
}

}  // namespace lckv
