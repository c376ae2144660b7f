#include "services/gateway/worker_directory.h"

#include <algorithm>
#include <optional>

#include "absl/strings/escaping.h"
#include "absl/time/clock.h"
#include "base/log.h"

namespace lckv::gateway {

WorkerDirectory::WorkerDirectory(const WorkerDirectoryOptions& options, Clock* clock)
    : options_(options), table_(0, options.suspect_after, clock) {
  for (const std::string& address : options_.addresses) Add(address, /*fixed=*/true);
}

WorkerDirectory::~WorkerDirectory() {
  std::map<size_t, std::unique_ptr<Peer>> peers;
  {
    MutexLock lock(mu_);
    peers.swap(peers_);
    for (auto& [number, peer] : peers) StopLocked(*peer);
  }
  changed_.NotifyAll();
  for (auto& [number, peer] : peers) peer->listener.join();
}

void WorkerDirectory::Follow(const std::vector<std::string>& addresses) {
  const WorkerChanges changes = DecideWorkerChanges(Known(), addresses, kMaxWorkers);
  for (const size_t number : changes.remove) Remove(number);
  for (const std::string& address : changes.add) Add(address, /*fixed=*/false);
  if (changes.left_out > 0) {
    LogWarning("more workers than a gateway takes",
               {{"limit", kMaxWorkers}, {"left_out", changes.left_out}});
  }
  MutexLock lock(mu_);
  followed_ = true;
  changed_.NotifyAll();
}

void WorkerDirectory::Add(const std::string& address, bool fixed) {
  auto peer = std::make_unique<Peer>();
  peer->number = table_.Add();
  peer->address = address;
  peer->fixed = fixed;
  peer->stub = v1::Worker::NewStub(MakeChannel(address, options_.security));
  if (!fixed) LogInfo("worker found", {{"address", address}});
  MutexLock lock(mu_);
  Peer& added = *peer;
  peers_.emplace(added.number, std::move(peer));
  added.listener = std::thread([this, &added] { Listen(added); });
}

void WorkerDirectory::Remove(size_t number) {
  std::unique_ptr<Peer> peer;
  {
    MutexLock lock(mu_);
    const auto found = peers_.find(number);
    if (found == peers_.end() || found->second->connected) return;
    peer = std::move(found->second);
    peers_.erase(found);
    StopLocked(*peer);
  }
  changed_.NotifyAll();
  peer->listener.join();
  table_.Remove(number);
  LogInfo("worker forgotten", {{"address", peer->address}});
}

std::vector<KnownWorker> WorkerDirectory::Known() const {
  MutexLock lock(mu_);
  std::vector<KnownWorker> known;
  known.reserve(peers_.size());
  for (const auto& [number, peer] : peers_) {
    known.push_back({number, peer->address, peer->fixed, peer->connected});
  }
  return known;
}

void WorkerDirectory::StopLocked(Peer& peer) {
  peer.stopping = true;
  if (peer.call != nullptr) peer.call->TryCancel();
}

std::shared_ptr<v1::Worker::Stub> WorkerDirectory::StubOf(absl::string_view worker_id) const {
  const std::optional<size_t> index = table_.IndexOf(worker_id);
  if (!index.has_value()) return nullptr;
  MutexLock lock(mu_);
  // It may have been removed in between.
  const auto found = peers_.find(*index);
  return found == peers_.end() ? nullptr : found->second->stub;
}

bool WorkerDirectory::WaitForReports(absl::Time deadline) {
  MutexLock lock(mu_);
  while (true) {
    bool all_reported = followed_ || !options_.follows;
    for (const auto& [number, peer] : peers_) all_reported &= peer->reported;
    if (all_reported) return true;
    const absl::Duration left = deadline - absl::Now();
    if (left <= absl::ZeroDuration()) return false;
    changed_.WaitWithTimeout(mu_, left);
  }
}

void WorkerDirectory::Listen(Peer& peer) {
  absl::Duration backoff = options_.reconnect_min;
  do {
    const int reports = ReadReports(peer);
    backoff = reports > 0 ? options_.reconnect_min : std::min(2 * backoff, options_.reconnect_max);
  } while (Sleep(peer, backoff));
}

int WorkerDirectory::ReadReports(Peer& peer) {
  grpc::ClientContext context;
  {
    MutexLock lock(mu_);
    if (peer.stopping) return 0;
    peer.call = &context;
  }
  v1::LoadRequest request;
  request.set_interval_ms(
      static_cast<uint32_t>(absl::ToInt64Milliseconds(options_.report_interval)));
  const auto stream = peer.stub->Load(&context, request);
  v1::LoadReport report;
  int reports = 0;
  while (stream->Read(&report)) {
    table_.Apply(peer.number, report);
    if (++reports == 1) NoteFirstReport(peer, report);
  }
  const grpc::Status status = stream->Finish();
  table_.MarkBroken(peer.number);
  MutexLock lock(mu_);
  peer.call = nullptr;
  peer.connected = false;
  if (reports > 0) peer.lost = false;
  if (!peer.lost && !peer.stopping) {
    LogWarning(reports > 0 ? "worker lost" : "worker not reached",
               {{"address", peer.address}, {"status", status.error_message()}});
    peer.lost = true;
  }
  return reports;
}

void WorkerDirectory::NoteFirstReport(Peer& peer, const v1::LoadReport& report) {
  LogInfo("worker connected", {{"worker", report.worker_id()},
                               {"address", peer.address},
                               {"numerics_class", report.numerics_class()},
                               {"fingerprint", absl::BytesToHexString(report.fingerprint())}});
  MutexLock lock(mu_);
  peer.connected = true;
  peer.reported = true;
  changed_.NotifyAll();
}

bool WorkerDirectory::Sleep(const Peer& peer, absl::Duration duration) {
  MutexLock lock(mu_);
  const absl::Time end = absl::Now() + duration;
  while (!peer.stopping) {
    const absl::Duration left = end - absl::Now();
    if (left <= absl::ZeroDuration()) return true;
    changed_.WaitWithTimeout(mu_, left);
  }
  return false;
}

}  // namespace lckv::gateway
