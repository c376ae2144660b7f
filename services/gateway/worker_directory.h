#pragma once

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "lckv/v1/worker.grpc.pb.h"
#include "services/gateway/worker_table.h"

namespace lckv::gateway {

struct WorkerDirectoryOptions {
  std::vector<std::string> addresses;  // host:port, one per worker
  absl::Duration report_interval = absl::Milliseconds(250);
  absl::Duration suspect_after = absl::Seconds(3);
  absl::Duration reconnect_min = absl::Milliseconds(100);
  absl::Duration reconnect_max = absl::Seconds(2);
};

// The workers of this deployment: one channel each, and one thread each that listens to the
// worker's load reports and connects again, with bounded backoff, when the stream breaks.
// Thread-safe.
class WorkerDirectory {
 public:
  // Starts to listen at once; every worker is dead until its first report.
  explicit WorkerDirectory(const WorkerDirectoryOptions& options, Clock* clock = Clock::Real());
  // Ends the streams and joins the threads.
  ~WorkerDirectory();
  WorkerDirectory(const WorkerDirectory&) = delete;
  WorkerDirectory& operator=(const WorkerDirectory&) = delete;

  WorkerTable& table() { return table_; }
  const WorkerTable& table() const { return table_; }

  // Waits until every worker has reported once; false when some have not by `deadline`.
  bool WaitForReports(absl::Time deadline);

  // Null when no worker has reported this id.
  std::shared_ptr<v1::Worker::Stub> StubOf(absl::string_view worker_id) const;

 private:
  struct Peer {
    std::string address;
    std::shared_ptr<v1::Worker::Stub> stub;
    grpc::ClientContext* call = nullptr;  // of the stream in progress; guarded by mu_
    bool reported = false;                // ever; guarded by mu_
    std::thread listener;
  };

  void Listen(size_t index);
  // One stream, from its beginning to its end: the number of reports it brought.
  int ReadReports(size_t index);
  void NoteFirstReport(size_t index, const v1::LoadReport& report);
  // False when it is time to stop.
  bool Sleep(absl::Duration duration);

  const WorkerDirectoryOptions options_;
  WorkerTable table_;
  std::vector<Peer> peers_;  // never resized after construction
  Mutex mu_;
  CondVar changed_;  // stopping_, or some peer's `reported`
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace lckv::gateway
