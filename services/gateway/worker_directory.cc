#include "services/gateway/worker_directory.h"

#include <algorithm>
#include <optional>

#include "absl/strings/escaping.h"
#include "absl/time/clock.h"
#include "base/log.h"
#include "rpc/channel.h"

namespace lckv::gateway {

WorkerDirectory::WorkerDirectory(const WorkerDirectoryOptions& options, Clock* clock)
    : options_(options),
      table_(options.addresses.size(), options.suspect_after, clock),
      peers_(options.addresses.size()) {
  for (size_t i = 0; i < peers_.size(); ++i) {
    peers_[i].address = options_.addresses[i];
    peers_[i].stub = v1::Worker::NewStub(MakeChannel(peers_[i].address));
  }
  for (size_t i = 0; i < peers_.size(); ++i) {
    peers_[i].listener = std::thread([this, i] { Listen(i); });
  }
}

WorkerDirectory::~WorkerDirectory() {
  {
    MutexLock lock(mu_);
    stopping_ = true;
    for (Peer& peer : peers_) {
      if (peer.call != nullptr) peer.call->TryCancel();
    }
  }
  changed_.NotifyAll();
  for (Peer& peer : peers_) peer.listener.join();
}

std::shared_ptr<v1::Worker::Stub> WorkerDirectory::StubOf(absl::string_view worker_id) const {
  const std::optional<size_t> index = table_.IndexOf(worker_id);
  return index.has_value() ? peers_[*index].stub : nullptr;
}

bool WorkerDirectory::WaitForReports(absl::Time deadline) {
  MutexLock lock(mu_);
  const auto all_reported = [this] {
    return std::all_of(peers_.begin(), peers_.end(),
                       [](const Peer& peer) { return peer.reported; });
  };
  while (!all_reported()) {
    const absl::Duration left = deadline - absl::Now();
    if (left <= absl::ZeroDuration()) return false;
    changed_.WaitWithTimeout(mu_, left);
  }
  return true;
}

void WorkerDirectory::Listen(size_t index) {
  absl::Duration backoff = options_.reconnect_min;
  do {
    const int reports = ReadReports(index);
    backoff = reports > 0 ? options_.reconnect_min : std::min(2 * backoff, options_.reconnect_max);
  } while (Sleep(backoff));
}

int WorkerDirectory::ReadReports(size_t index) {
  Peer& peer = peers_[index];
  grpc::ClientContext context;
  {
    MutexLock lock(mu_);
    if (stopping_) return 0;
    peer.call = &context;
  }
  v1::LoadRequest request;
  request.set_interval_ms(
      static_cast<uint32_t>(absl::ToInt64Milliseconds(options_.report_interval)));
  const auto stream = peer.stub->Load(&context, request);
  v1::LoadReport report;
  int reports = 0;
  while (stream->Read(&report)) {
    table_.Apply(index, report);
    if (++reports == 1) NoteFirstReport(index, report);
  }
  const grpc::Status status = stream->Finish();
  table_.MarkBroken(index);
  MutexLock lock(mu_);
  peer.call = nullptr;
  if (reports > 0 && !stopping_) {
    LogWarning("worker lost", {{"address", peer.address}, {"status", status.error_message()}});
  }
  return reports;
}

void WorkerDirectory::NoteFirstReport(size_t index, const v1::LoadReport& report) {
  LogInfo("worker connected", {{"worker", report.worker_id()},
                               {"address", peers_[index].address},
                               {"numerics_class", report.numerics_class()},
                               {"fingerprint", absl::BytesToHexString(report.fingerprint())}});
  MutexLock lock(mu_);
  peers_[index].reported = true;
  changed_.NotifyAll();
}

bool WorkerDirectory::Sleep(absl::Duration duration) {
  MutexLock lock(mu_);
  const absl::Time end = absl::Now() + duration;
  while (!stopping_) {
    const absl::Duration left = end - absl::Now();
    if (left <= absl::ZeroDuration()) return true;
    changed_.WaitWithTimeout(mu_, left);
  }
  return false;
}

}  // namespace lckv::gateway
