#include <CLI/CLI.hpp>
#include <string>

#include "services/cache_node/cache_node.h"
#include "services/common/config.h"
#include "services/common/flags.h"
#include "services/common/tls_setup.h"
#include "services/common/tracing/tracing_options.h"

namespace lckv {
namespace {

void AddFlags(CLI::App& app, CacheNodeOptions* options) {
  app.add_option("--listen", options->listen, "host:port of the service; port 0 takes a free one")
      ->check(CheckAddress)
      ->capture_default_str();
  app.add_option("--metrics-listen", options->metrics_listen,
                 "address:port of /metrics; empty for none")
      ->check(CheckAddressOrEmpty)
      ->capture_default_str();
  app.add_option("--data", options->data,
                 "folder of the store; empty keeps sessions in memory only")
      ->capture_default_str();
  AddTlsFlags(app, &options->tls);
  AddBytesFlag(app, "--arena-bytes", &options->arena_bytes,
               "page memory; holds the largest session at least");
  app.add_flag("--populate", options->populate, "touch all page memory at start");
  app.add_option("--max-sessions", options->max_sessions, "sessions; more are refused")
      ->check(CLI::Range(size_t{1}, size_t{1} << 30))
      ->capture_default_str();
  app.add_option("--quick-threads", options->quick_threads, "threads for commits, leases, renewals")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  app.add_option("--bulk-threads", options->bulk_threads, "threads that load pages and list")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  app.add_option("--max-waiting-calls", options->max_waiting_calls, "more are refused")
      ->check(CLI::Range(size_t{1}, size_t{1} << 20))
      ->capture_default_str();
  app.add_option("--max-page-streams", options->max_page_streams, "open at once; more are refused")
      ->check(CLI::Range(1, 1 << 16))
      ->capture_default_str();
  AddDurationFlag(app, "--handle-ttl", &options->handle_ttl,
                  "life of reservations and read leases that nobody uses");
  AddDurationFlag(app, "--grace", &options->grace, "time for open calls at shutdown");
  app.add_flag("--reflection", options->reflection, "serve gRPC reflection");
  AddLogLevelFlag(app, &options->log_level);
}

}  // namespace

int RunCacheNode(int argc, char** argv) {
  BlockStopSignals();
  CacheNodeOptions options;
  CLI::App app("Keeps every session of lckv and its KV pages.", "cache-node");
  AddFlags(app, &options);
  SetLogService("cache-node");
  const auto check = [&options] {
    std::vector<ConfigProblem> problems = TlsProblems(options.tls);
    ReadTracing("lckv-cache-node", &options.tracing, &problems);
    return problems;
  };
  if (const auto exit_status = ReadConfig(app, argc, argv, check)) return *exit_status;
  SetLogLevel(options.log_level);
  absl::StatusOr<std::unique_ptr<CacheNode>> node = CacheNode::Start(options);
  if (!node.ok()) {
    LogError("cannot start", {{"status", node.status().ToString()}});
    return 1;
  }
  LogInfo("recovered", {{"sessions", (*node)->core().Stats().sessions}});
  // Calls in progress end by themselves, in the time of the server's linger.
  ServeUntilStopped("cache-node", (*node)->server(), (*node)->metrics_server(), options.grace,
                    [](absl::Time) {});
  return 0;
}

}  // namespace lckv
