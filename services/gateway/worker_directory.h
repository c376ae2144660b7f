#pragma once

#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "lckv/v1/worker.grpc.pb.h"
#include "rpc/channel.h"
#include "services/gateway/worker_changes.h"
#include "services/gateway/worker_table.h"

namespace lckv::gateway {

struct WorkerDirectoryOptions {
  std::vector<std::string> addresses;  // host:port, one per worker; those that stay
  bool follows = false;  // others come from Follow: WaitForReports waits for the first
  ChannelSecurity security = {};
  absl::Duration report_interval = absl::Milliseconds(250);
  absl::Duration suspect_after = absl::Seconds(3);
  absl::Duration reconnect_min = absl::Milliseconds(100);
  absl::Duration reconnect_max = absl::Seconds(2);
};

// The workers of this deployment: one channel each, and one thread each that listens to the
// worker's load reports and connects again, with bounded backoff, when the stream breaks. Workers
// come and go at run time with Follow; a turn that runs on one that went keeps its channel.
// Thread-safe.
class WorkerDirectory {
 public:
  // Of those that Follow adds, as many as fit.
  static constexpr size_t kMaxWorkers = 1024;

  // Starts to listen at once; every worker is dead until its first report.
  explicit WorkerDirectory(const WorkerDirectoryOptions& options, Clock* clock = Clock::Real());
  // Ends the streams and joins the threads.
  ~WorkerDirectory();
  WorkerDirectory(const WorkerDirectory&) = delete;
  WorkerDirectory& operator=(const WorkerDirectory&) = delete;

  // The deployment's workers as they were just looked up, host:port each: adds those that are new
  // and removes those that are gone (DecideWorkerChanges). Waits for the threads of the removed.
  // REQUIRES: one call at a time, none during destruction.
  void Follow(const std::vector<std::string>& addresses);

  WorkerTable& table() { return table_; }
  const WorkerTable& table() const { return table_; }

  // Waits until every worker that is known has reported once; false when some have not by
  // `deadline`.
  bool WaitForReports(absl::Time deadline);

  // Null when no worker has reported this id.
  std::shared_ptr<v1::Worker::Stub> StubOf(absl::string_view worker_id) const;

 private:
  struct Peer {
    size_t number = 0;  // in table_
    std::string address;
    bool fixed = false;
    std::shared_ptr<v1::Worker::Stub> stub;
    // Guarded by mu_.
    grpc::ClientContext* call = nullptr;  // of the stream in progress
    bool connected = false;               // a report came on it
    bool reported = false;                // ever
    bool stopping = false;
    bool lost = false;  // and said so; the listener's own
    std::thread listener;
  };

  void Add(const std::string& address, bool fixed);
  // Unless it is connected by now. Joins its thread.
  void Remove(size_t number);
  std::vector<KnownWorker> Known() const;
  static void StopLocked(Peer& peer);

  void Listen(Peer& peer);
  // One stream, from its beginning to its end: the number of reports it brought.
  int ReadReports(Peer& peer);
  void NoteFirstReport(Peer& peer, const v1::LoadReport& report);
  // False when it is time for this peer to stop.
  bool Sleep(const Peer& peer, absl::Duration duration);

  const WorkerDirectoryOptions options_;
  WorkerTable table_;
  mutable Mutex mu_;
  CondVar changed_;  // some peer's `stopping` or `reported`, or followed_
  // By number. A peer is destroyed only after its listener, which uses it, is joined.
  std::map<size_t, std::unique_ptr<Peer>> peers_ ABSL_GUARDED_BY(mu_);
  bool followed_ ABSL_GUARDED_BY(mu_) = false;  // Follow was called
};

}  // namespace lckv::gateway
