#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <thread>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/log.h"
#include "base/mutex.h"
#include "cache/core/cache_core.h"
#include "rpc/tls.h"
#include "services/cache_node/cache_metrics.h"
#include "services/cache_node/cache_service.h"
#include "services/common/executor.h"
#include "services/common/metrics_server.h"
#include "services/common/server_runner.h"
#include "services/common/tracing/tracer.h"

namespace lckv {

struct CacheNodeOptions {
  std::string listen = "127.0.0.1:0";          // port 0 takes a free one
  std::string metrics_listen = "127.0.0.1:0";  // empty: no metrics port
  // Where sessions are stored. Empty: in memory, and gone with the process; pages then take up to
  // arena_bytes once more.
  std::string data;
  // Page memory. Smaller: more pages are read from storage; it must hold the largest session at
  // once, or the rest of that session is computed again.
  int64_t arena_bytes = int64_t{256} << 20;
  bool populate = false;  // touch all of it at start
  size_t max_sessions = 100'000;
  int quick_threads = 16;  // one commit each at a time; together they share an fsync
  int bulk_threads = 4;
  size_t max_waiting_calls = 256;  // in each of the two executors
  int max_page_streams = 256;
  TracingOptions tracing;
  absl::Duration handle_ttl = absl::Seconds(30);  // unused reservations and read leases
  absl::Duration grace = absl::Seconds(10);       // for open calls at shutdown
  TlsFiles tls;                                   // of this component; empty: plain text
  bool reflection = false;
  LogLevel log_level = LogLevel::kInfo;
};

// A running cache node: the parts, wired in the order in which they depend on each other.
class CacheNode {
 public:
  // Has recovered what is stored, and listens, when it returns. INVALID_ARGUMENT for malformed
  // addresses and sizes, FAILED_PRECONDITION when a port, the data folder or TLS files cannot be
  // had, DATA_LOSS when the store is damaged beyond what recovery forgives.
  static absl::StatusOr<std::unique_ptr<CacheNode>> Start(const CacheNodeOptions& options);
  // Stops at once, unless ServerRunner::Stop was called.
  ~CacheNode();
  CacheNode(const CacheNode&) = delete;
  CacheNode& operator=(const CacheNode&) = delete;

  ServerRunner& server() { return *server_; }
  MetricsServer* metrics_server() { return metrics_server_.get(); }
  CacheCore& core() { return core_; }
  const CacheMetrics& metrics() const { return metrics_; }

 private:
  CacheNode(const CacheNodeOptions& options, std::unique_ptr<Arena> arena,
            std::unique_ptr<SessionStore> store, std::unique_ptr<SpanExporter> exporter);
  // Drops expired handles and sets the gauges, once a second, until the destructor.
  void KeepHouse();

  const std::string data_;  // empty: stored in memory
  CacheMetrics metrics_;
  const Tracer tracer_;
  std::unique_ptr<TlsIdentity> tls_;  // null: plain text
  CacheCore core_;
  Executor quick_;
  Executor bulk_;
  CacheService service_;
  Mutex mu_;
  CondVar stop_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::unique_ptr<MetricsServer> metrics_server_;
  std::unique_ptr<ServerRunner> server_;
  std::thread housekeeper_;
};

// The cache node as a program: flags in, exit status out. Runs until SIGTERM or SIGINT.
int RunCacheNode(int argc, char** argv);

}  // namespace lckv
