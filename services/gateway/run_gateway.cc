#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/log.h"
#include "services/common/config.h"
#include "services/common/flags.h"
#include "services/common/server_runner.h"
#include "services/common/tls_setup.h"
#include "services/common/tracing/tracing_options.h"
#include "services/gateway/gateway.h"

namespace lckv::gateway {
namespace {

constexpr absl::Duration kWaitForWorkers = absl::Seconds(2);
constexpr absl::Duration kMinResolveInterval = absl::Milliseconds(100);

void AddPublicTlsFlags(CLI::App& app, GatewayOptions* options) {
  app.add_option("--public-tls-cert", options->public_tls.certificate,
                 "PEM certificate of the public listener; default: that of --tls-cert");
  app.add_option("--public-tls-key", options->public_tls.key, "PEM key of --public-tls-cert");
  app.add_option("--public-tls-ca", options->public_tls.authority,
                 "PEM certificates of who signs those of clients, who must have one then");
  app.add_flag("--public-plain", options->public_plain,
               "plain text on the public listener in spite of --tls-cert: TLS ends before it");
}

void AddFlags(CLI::App& app, GatewayOptions* options) {
  app.add_option("--listen", options->listen, "host:port of the API; port 0 takes a free one")
      ->check(CheckAddress)
      ->capture_default_str();
  app.add_option("--metrics-listen", options->metrics_listen,
                 "address:port of /metrics; empty for none")
      ->check(CheckAddressOrEmpty)
      ->capture_default_str();
  app.add_option("--worker", options->workers.addresses, "host:port of a worker; repeat for each")
      ->check(CheckAddress);
  app.add_option("--worker-service", options->discovery.service,
                 "host:port; every address of the host is a worker's, as of a headless service")
      ->check(CheckAddressOrEmpty);
  AddDurationFlag(app, "--worker-resolve-interval", &options->discovery.interval,
                  "time between two look-ups of --worker-service");
  app.add_option("--cache-node", options->cache_node, "host:port of the cache node")
      ->required()
      ->check(CheckAddress);
  AddTlsFlags(app, &options->tls);
  AddPublicTlsFlags(app, options);
  app.add_option("--api-keys", options->api_keys,
                 "YAML file of API keys (lckv api-key new); without it everybody is let in as the "
                 "tenant default");
  app.add_option("--max-concurrent-turns", options->max_concurrent_turns,
                 "turns in progress; more are refused")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  app.add_option("--max-waiting-calls", options->max_waiting_calls,
                 "waiting calls that are not turns; more are refused")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  app.add_option("--call-threads", options->call_threads, "threads for calls that are not turns")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  AddDurationFlag(app, "--turn-timeout", &options->service.turn_timeout, "longest turn");
  AddDurationFlag(app, "--call-timeout", &options->service.call_timeout,
                  "longest call that is not a turn");
  AddDurationFlag(app, "--suspect-after", &options->workers.suspect_after,
                  "silence after which a worker gets no new turns");
  AddDurationFlag(app, "--stall-timeout", &options->stall_timeout,
                  "silence after which a silent worker's turns are moved");
  AddDurationFlag(app, "--continue-wait", &options->relay.continue_wait,
                  "how long a broken turn looks for another worker");
  AddDurationFlag(app, "--grace", &options->grace, "time for running turns at shutdown");
  app.add_flag("--reflection", options->reflection, "serve gRPC reflection");
  AddLogLevelFlag(app, &options->log_level);
}

std::vector<ConfigProblem> CheckTogether(const GatewayOptions& options) {
  std::vector<ConfigProblem> problems = TlsProblems(options.tls);
  if (absl::Status status = CheckPublicTls(options); !status.ok()) {
    problems.push_back({"public-tls-cert", std::string(status.message())});
  }
  if (options.workers.addresses.empty() && options.discovery.service.empty()) {
    problems.push_back({"worker", "want --worker, --worker-service, or both"});
  }
  if (options.discovery.interval < kMinResolveInterval) {
    problems.push_back({"worker-resolve-interval", "want 100ms at least"});
  }
  return problems;
}

}  // namespace

int RunGateway(int argc, char** argv) {
  BlockStopSignals();
  GatewayOptions options;
  CLI::App app("Public API of lckv: routes sessions to workers and keeps their streams alive.",
               "gateway");
  AddFlags(app, &options);
  SetLogService("gateway");
  const auto check = [&options] {
    std::vector<ConfigProblem> problems = CheckTogether(options);
    ReadTracing("lckv-gateway", &options.tracing, &problems);
    return problems;
  };
  if (const auto exit_status = ReadConfig(app, argc, argv, check)) return *exit_status;
  SetLogLevel(options.log_level);
  absl::StatusOr<std::unique_ptr<Gateway>> gateway = Gateway::Start(options);
  if (!gateway.ok()) {
    LogError("cannot start", {{"status", gateway.status().ToString()}});
    return 1;
  }
  // So that the first turn after the ready line finds the workers that are there.
  (*gateway)->directory().WaitForReports(absl::Now() + kWaitForWorkers);
  ServeUntilStopped("gateway", (*gateway)->server(), (*gateway)->metrics_server(), options.grace,
                    [&](absl::Time deadline) { (*gateway)->Drain(deadline); });
  return 0;
}

}  // namespace lckv::gateway
