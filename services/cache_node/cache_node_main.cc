#include <CLI/CLI.hpp>
#include <map>
#include <string>

#include "base/units.h"
#include "services/cache_node/cache_node.h"

namespace lckv {
namespace {

const std::map<std::string, LogLevel>& LogLevels() {
  static const auto* levels = new std::map<std::string, LogLevel>{{"debug", LogLevel::kDebug},
                                                                  {"info", LogLevel::kInfo},
                                                                  {"warning", LogLevel::kWarning},
                                                                  {"error", LogLevel::kError}};
  return *levels;
}

// A flag whose value is a size such as 256MiB or 4GB.
void AddBytes(CLI::App& app, const std::string& name, uint64_t* value, const std::string& help) {
  app.add_option_function<std::string>(
         name,
         [name, value](const std::string& text) {
           const absl::StatusOr<int64_t> bytes = ParseBytes(text);
           if (!bytes.ok()) throw CLI::ValidationError(name, "want a size such as 256MiB or 4GB");
           *value = static_cast<uint64_t>(*bytes);
         },
         help)
      ->default_str(FormatBytes(static_cast<int64_t>(*value)))
      ->type_name("BYTES");
}

// A flag whose value is a duration such as 250ms, 30s or 10m.
void AddDuration(CLI::App& app, const std::string& name, absl::Duration* value,
                 const std::string& help) {
  app.add_option_function<std::string>(
         name,
         [name, value](const std::string& text) {
           if (!absl::ParseDuration(text, value) || *value <= absl::ZeroDuration()) {
             throw CLI::ValidationError(name, "want a positive duration such as 250ms, 30s, 10m");
           }
         },
         help)
      ->default_str(absl::FormatDuration(*value))
      ->type_name("DURATION");
}

void AddFlags(CLI::App& app, CacheNodeOptions* options) {
  app.add_option("--listen", options->listen, "host:port of the service; port 0 takes a free one")
      ->capture_default_str();
  app.add_option("--metrics-listen", options->metrics_listen,
                 "address:port of /metrics; empty for none")
      ->capture_default_str();
  app.add_option("--data", options->data,
                 "folder of the store; empty keeps sessions in memory only")
      ->capture_default_str();
  AddBytes(app, "--arena-bytes", &options->arena_bytes,
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
  AddDuration(app, "--handle-ttl", &options->handle_ttl,
              "life of reservations and read leases that nobody uses");
  AddDuration(app, "--grace", &options->grace, "time for open streams at shutdown");
  app.add_flag("--reflection", options->reflection, "serve gRPC reflection");
  app.add_option("--log-level", options->log_level, "debug, info, warning or error")
      ->transform(CLI::CheckedTransformer(LogLevels(), CLI::ignore_case));
}

}  // namespace

int RunCacheNode(int argc, char** argv) {
  BlockStopSignals();
  CacheNodeOptions options;
  CLI::App app("Keeps every session of lckv and its KV pages.", "cache-node");
  AddFlags(app, &options);
  CLI11_PARSE(app, argc, argv);
  SetLogService("cache-node");
  SetLogLevel(options.log_level);
  absl::StatusOr<std::unique_ptr<CacheNode>> node = CacheNode::Start(options);
  if (!node.ok()) {
    LogError("cannot start", {{"status", node.status().ToString()}});
    return 1;
  }
  LogInfo("recovered", {{"sessions", (*node)->core().Stats().sessions}});
  // Calls in progress end by themselves; streams have the server's linger.
  ServeUntilStopped("cache-node", (*node)->server(), (*node)->metrics_server(), options.grace,
                    [](absl::Time) {});
  return 0;
}

}  // namespace lckv
