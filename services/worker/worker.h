#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/log.h"
#include "cache/client/cache_client.h"
#include "engine/device/device.h"
#include "engine/model/checkpoint.h"
#include "engine/ops/backend.h"
#include "engine/runtime/engine.h"
#include "engine/tokenizer/chat_template.h"
#include "engine/tokenizer/tokenizer.h"
#include "rpc/tls.h"
#include "services/common/executor.h"
#include "services/common/metrics.h"
#include "services/common/metrics_server.h"
#include "services/common/server_runner.h"
#include "services/common/tracing/tracer.h"
#include "services/worker/drainer.h"
#include "services/worker/load_board.h"
#include "services/worker/periodic.h"
#include "services/worker/report_ticker.h"
#include "services/worker/turn_desk.h"
#include "services/worker/worker_core.h"
#include "services/worker/worker_metrics.h"
#include "services/worker/worker_service.h"

namespace lckv::worker {

struct WorkerOptions {
  std::string listen = "127.0.0.1:0";
  std::string metrics_listen = "127.0.0.1:0";  // empty: none
  // Who this worker is to gateway and cache node; empty: `advertise`, else host name and port (or
  // process id, where the port is not known yet). An incarnation is appended, so that a worker that
  // was restarted is another one.
  std::string id;
  std::string advertise;   // host:port under which others reach it; names the worker only
  std::string cache_node;  // host:port; a worker without one is refused
  TlsFiles tls;            // of this component; empty: plain text

  // The model: one of the two first.
  std::string model;           // directory or GGUF file
  std::string random_weights;  // a config.json; weights are random
  uint64_t random_seed = 0;
  std::string layer_map;  // not empty: instead of the config's
  EngineOptions engine;
  DeviceOptions device;

  int max_waiting_turns = 256;  // beyond engine.max_running_turns, which run
  int checkpoint_tokens = 16;   // smaller: less to replay after a crash; larger: fewer pushes
  int push_threads = 2;
  absl::Duration idle_evict = absl::Minutes(5);
  absl::Duration lease_ttl = absl::Seconds(10);  // how long a dead worker blocks its sessions
  absl::Duration restore_timeout = absl::Seconds(10);
  absl::Duration commit_timeout = absl::Seconds(10);
  absl::Duration drain_grace = absl::Seconds(15);
  NumericsPolicy numerics = NumericsPolicy::kSame;
  FingerprintPolicy fingerprint = FingerprintPolicy::kRecompute;
  TracingOptions tracing;
  bool vllm_metrics = false;
  bool reflection = false;
  LogLevel log_level = LogLevel::kInfo;
};

// A worker process: the model, its sessions, its server. Objects are made in the order of the
// members, and end in the opposite one.
class Worker {
 public:
  // Loads the model and starts to serve, not ready yet. INVALID_ARGUMENT (options, no cache node),
  // FAILED_PRECONDITION (TLS files) and what loading a model gives.
  static absl::StatusOr<std::unique_ptr<Worker>> Start(const WorkerOptions& options);
  ~Worker();

  ServerRunner& server() { return *server_; }
  MetricsServer* metrics_server() { return metrics_server_.get(); }
  const std::string& id() const { return id_; }
  // How long Drain may take.
  absl::Duration grace() const;

  // Takes turns from now on.
  void SetReady();
  // Hands everything over; the drain callback of ServerRunner::Stop.
  void Drain(absl::Time deadline);

 private:
  Worker(const WorkerOptions& options, std::unique_ptr<SpanExporter> exporter);
  absl::Status LoadModel();
  absl::Status LoadTokenizer();
  void MakeCore();
  absl::Status Serve();
  void StartMaintenance();
  v1::ModelInfo ModelInfo() const;

  const WorkerOptions options_;
  const std::string id_;
  MetricsRegistry registry_;
  WorkerMetrics metrics_;
  const Tracer tracer_;
  std::unique_ptr<TlsIdentity> tls_;  // null: plain text
  std::unique_ptr<Checkpoint> checkpoint_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::optional<ChatTemplate> chat_template_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<CacheClient> cache_;
  LoadBoard board_;
  std::unique_ptr<WorkerCore> core_;
  std::unique_ptr<TurnDesk> desk_;
  std::unique_ptr<ReportTicker> ticker_;
  std::unique_ptr<Drainer> drainer_;
  std::unique_ptr<Executor> executor_;
  std::unique_ptr<WorkerService> service_;
  std::unique_ptr<Periodic> maintenance_;
  std::unique_ptr<Periodic> lease_renewal_;
  std::unique_ptr<MetricsServer> metrics_server_;
  std::unique_ptr<ServerRunner> server_;
};

// The worker as a program: flags in, exit status out. Runs until SIGTERM or SIGINT.
int RunWorker(int argc, char** argv);

}  // namespace lckv::worker
