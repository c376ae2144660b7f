#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "lckv/v1/inference.grpc.pb.h"
#include "lckv/v1/worker.grpc.pb.h"
#include "rpc/channel.h"
#include "services/cli/service_process.h"

namespace lckv::testing {

// Everything that is waited for in these tests takes much less, also under a sanitizer.
inline constexpr absl::Duration kPatience = absl::Minutes(2);

// Asks again and again, a few milliseconds apart, until `condition` holds; false after kPatience.
bool WaitUntil(const std::function<bool()>& condition);

struct ClusterOptions {
  int workers = 2;
  std::vector<std::string> cache_node_flags = {};
  std::vector<std::string> worker_flags = {};
  std::vector<std::string> gateway_flags = {};
  ChannelSecurity client = {};  // of gateway() and worker()
};

// The real binaries on this machine, each a process: a cache node, workers "worker-1", "worker-2",
// …, and a gateway, with the model bard-lckv-w2 and short time-outs. Data and logs lie in a
// directory of its own, kept (and named) when the test has failed. Not thread-safe.
class Cluster {
 public:
  static absl::StatusOr<std::unique_ptr<Cluster>> Start(const ClusterOptions& options = {});
  ~Cluster();

  v1::Inference::Stub& gateway() { return *gateway_stub_; }
  // Where "gateway", "cache-node" or a worker listens.
  const std::string& address(const std::string& name) const { return addresses_.at(name); }
  // A client of the worker itself, past the gateway.
  std::unique_ptr<v1::Worker::Stub> worker(const std::string& id) const;

  ChildProcess& cache_node_process() { return *processes_.at("cache-node").child; }
  ChildProcess& gateway_process() { return *processes_.at("gateway").child; }
  ChildProcess& worker_process(const std::string& id) { return *processes_.at(id).child; }

  // kill -9, and wait for the end.
  void Kill(const std::string& name);
  // SIGTERM, and its exit status; -1 if it is still there after kPatience.
  int Terminate(const std::string& name);
  // The service again: same flags (or `flags` instead of those of the options), same address, same
  // data. REQUIRES: it ended.
  absl::Status Restart(const std::string& name);
  absl::Status Restart(const std::string& name, const std::vector<std::string>& flags);

  // Waits until the gateway counts exactly so many workers as ready; false after kPatience.
  bool WaitForWorkers(int count) const;

  // The sum of a metric's samples, all label values: 0 if there are none.
  double Metric(const std::string& name, absl::string_view metric) const;
  // The body of GET `path` from its metrics port; empty when nobody answers.
  std::string Http(const std::string& name, absl::string_view path) const;
  // What it wrote on standard error.
  std::string Log(const std::string& name) const;
  const std::string& cache_folder() const { return cache_folder_; }

 private:
  explicit Cluster(ClusterOptions options);
  absl::Status StartAll();
  absl::Status StartProcess(const std::string& name, const std::vector<std::string>& flags);
  std::vector<std::string> CommandLine(const std::string& name,
                                       const std::vector<std::string>& flags) const;
  const std::vector<std::string>& FlagsOf(const std::string& name) const;

  const ClusterOptions options_;
  std::string folder_;
  std::string cache_folder_;
  std::map<std::string, std::string> addresses_;  // by name; stay when a process ends
  std::map<std::string, ServiceProcess> processes_;
  std::unique_ptr<v1::Inference::Stub> gateway_stub_;
};

}  // namespace lckv::testing
