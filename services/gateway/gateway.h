#pragma once

#include <memory>
#include <string>
#include <thread>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/log.h"
#include "rpc/tls.h"
#include "services/common/executor.h"
#include "services/common/metrics_server.h"
#include "services/common/server_runner.h"
#include "services/common/tracing/tracer.h"
#include "services/gateway/admission.h"
#include "services/gateway/gateway_metrics.h"
#include "services/gateway/inference_service.h"
#include "services/gateway/relay_policy.h"
#include "services/gateway/session_api.h"
#include "services/gateway/stall_monitor.h"
#include "services/gateway/tenant.h"
#include "services/gateway/worker_directory.h"
#include "services/gateway/worker_discovery.h"

namespace lckv::gateway {

struct GatewayOptions {
  std::string listen = "127.0.0.1:8080";
  std::string metrics_listen = "127.0.0.1:0";  // empty: no metrics port
  std::string cache_node;                      // host:port
  WorkerDirectoryOptions workers;  // addresses may be empty when `discovery` has a service; its
                                   // security follows from `tls`
  WorkerDiscoveryOptions discovery;
  InferenceServiceOptions service;
  RelayLimits relay;
  // A stream without a frame for this long, from a worker without reports, is moved elsewhere.
  absl::Duration stall_timeout = absl::Seconds(5);
  int max_concurrent_turns = 256;
  int call_threads = 8;  // for everything that is not a turn
  size_t max_waiting_calls = 256;
  absl::Duration grace = absl::Seconds(30);  // for running turns at shutdown
  TracingOptions tracing;
  TlsFiles tls;  // of this component, for workers and cache node; empty: plain text
  // Of the public listener; empty: `tls`, without asking clients for certificates. With an
  // authority, clients must have a certificate of it.
  TlsFiles public_tls;
  bool public_plain = false;  // plain text on the public listener in spite of `tls`
  std::string api_keys;       // file of keys (api_keys.h); empty: everybody is the tenant "default"
  absl::Duration api_keys_refresh = absl::Seconds(1);  // how often it is looked at
  bool reflection = false;
  LogLevel log_level = LogLevel::kInfo;
  Clock* clock = Clock::Real();  // of the waits and times of turns
};

// INVALID_ARGUMENT for options of the public listener that do not go together. Does not look at
// files.
absl::Status CheckPublicTls(const GatewayOptions& options);

// A running gateway: the parts, wired in the order in which they depend on each other.
class Gateway {
 public:
  // Listens when it returns. INVALID_ARGUMENT for malformed addresses, keys and options of tracing,
  // and options that do not go together; FAILED_PRECONDITION when a port, TLS files or the file of
  // keys cannot be had.
  static absl::StatusOr<std::unique_ptr<Gateway>> Start(const GatewayOptions& options);
  // Stops at once, unless Stop was called.
  ~Gateway();
  Gateway(const Gateway&) = delete;
  Gateway& operator=(const Gateway&) = delete;

  ServerRunner& server() { return *server_; }
  MetricsServer* metrics_server() { return metrics_server_.get(); }
  WorkerDirectory& directory() { return directory_; }
  const GatewayMetrics& metrics() const { return metrics_; }

  // Admits no more turns and waits for those that run. A drain callback of ServerRunner::Stop.
  void Drain(absl::Time deadline);

 private:
  struct Identities {
    std::unique_ptr<TlsIdentity> component, listener;  // null: none
  };
  static absl::StatusOr<Identities> LoadIdentities(const GatewayOptions& options);
  Gateway(const GatewayOptions& options, Identities identities,
          std::unique_ptr<SpanExporter> exporter);
  absl::Status MakeService();
  // Logs what is open to everybody and need not be.
  void WarnOfExposure() const;
  // Of the public listener; null: plain text.
  std::shared_ptr<grpc::ServerCredentials> ListenerCredentials() const;
  // Looks after stalled streams and the gauges, a few times a second, until the destructor.
  void KeepHouse();
  // True when it is time to stop.
  bool WaitForStop(absl::Duration timeout);

  const GatewayOptions options_;
  GatewayMetrics metrics_;
  const Identities identities_;
  const Tracer tracer_;
  WorkerDirectory directory_;
  std::unique_ptr<WorkerDiscovery> discovery_;  // null: every worker is named by a flag
  StallMonitor stalls_;
  Admission admission_;
  SessionApi sessions_;
  std::unique_ptr<Tenants> tenants_;
  Executor executor_;
  std::unique_ptr<InferenceService> service_;
  Mutex mu_;
  CondVar stop_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::unique_ptr<MetricsServer> metrics_server_;
  std::unique_ptr<ServerRunner> server_;
  std::thread housekeeper_;
};

// The gateway as a program: flags in, exit status out. Runs until SIGTERM or SIGINT.
int RunGateway(int argc, char** argv);

}  // namespace lckv::gateway
