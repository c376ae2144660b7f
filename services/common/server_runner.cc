#include "services/common/server_runner.h"

#include <grpc/support/log.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <signal.h>

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/check.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "rpc/channel.h"
#include "services/common/listen_address.h"
#include "services/common/metrics_server.h"

namespace lckv {
namespace {

constexpr int kMaxMetadataBytes = 16 << 10;
constexpr int kHandshakeTimeoutMs = 5000;

// What gRPC has to say (errors, unless GRPC_VERBOSITY asks for more) becomes a line of our log. Its
// errors are those of connections, such as handshakes that failed: for us warnings.
void ForwardGrpcLog(gpr_log_func_args* args) {
  const absl::string_view file = args->file;
  const std::string where = absl::StrCat(file.substr(file.rfind('/') + 1), ":", args->line);
  Log(args->severity == GPR_LOG_SEVERITY_ERROR ? LogLevel::kWarning : LogLevel::kDebug, "grpc",
      {{"detail", args->message}, {"where", where}});
}

sigset_t StopSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  return signals;
}

void PrintReadyLine(absl::string_view service, const ServerRunner& runner,
                    const MetricsServer* metrics) {
  nlohmann::ordered_json line;
  line["service"] = std::string(service);
  line["listen"] = runner.address();
  if (metrics != nullptr) line["metrics"] = metrics->address();
  std::printf("%s\n", line.dump().c_str());
  std::fflush(stdout);
}

}  // namespace

absl::StatusOr<std::unique_ptr<ServerRunner>> ServerRunner::Start(
    const ServerOptions& options, const std::vector<NamedService>& services) {
  LCKV_ASSIGN_OR_RETURN(const ListenAddress address, ParseListenAddress(options.listen));
  // Settings of the process, for servers built later; all are safe to repeat.
  gpr_set_log_function(&ForwardGrpcLog);
  grpc::EnableDefaultHealthCheckService(true);
  if (options.reflection) grpc::reflection::InitProtoReflectionServerBuilderPlugin();

  grpc::ServerBuilder builder;
  ApplyServerSettings(builder);
  builder.SetMaxReceiveMessageSize(options.max_receive_bytes);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, options.max_concurrent_streams);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, kMaxMetadataBytes);
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, kHandshakeTimeoutMs);
  int port = 0;
  builder.AddListeningPort(
      options.listen,
      options.credentials == nullptr ? grpc::InsecureServerCredentials() : options.credentials,
      &port);
  std::vector<std::string> names = {"", kHealthReady};
  for (const NamedService& service : services) {
    builder.RegisterService(service.service);
    names.emplace_back(service.name);
  }
  std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr || port <= 0) {
    return absl::FailedPreconditionError(absl::StrCat("cannot listen on ", options.listen,
                                                      ": in use, or not an address of this host"));
  }
  std::unique_ptr<ServerRunner> runner(new ServerRunner(
      options.linger, absl::StrCat(address.host, ":", port), std::move(names), std::move(server)));
  runner->SetReady(false);
  return runner;
}

ServerRunner::ServerRunner(absl::Duration linger, std::string address,
                           std::vector<std::string> health_names,
                           std::unique_ptr<grpc::Server> server)
    : linger_(linger),
      address_(std::move(address)),
      health_names_(std::move(health_names)),
      server_(std::move(server)) {}

ServerRunner::~ServerRunner() {
  Stop(absl::ZeroDuration(), [](absl::Time) {});
}

void ServerRunner::SetReady(bool ready) {
  grpc::HealthCheckServiceInterface* health = server_->GetHealthCheckService();
  ready_.store(ready);
  for (const std::string& name : health_names_) health->SetServingStatus(name, ready);
  health->SetServingStatus(kHealthLiveness, true);
}

void ServerRunner::Stop(absl::Duration grace,
                        const std::function<void(absl::Time deadline)>& drain) {
  if (stopped_.exchange(true)) return;
  const absl::Time deadline = absl::Now() + grace;
  SetReady(false);
  drain(deadline);
  const absl::Duration linger = std::min(linger_, deadline - absl::Now());
  server_->Shutdown(absl::ToChronoTime(absl::Now() + std::max(linger, absl::ZeroDuration())));
  server_->Wait();
}

void BlockStopSignals() {
  const sigset_t signals = StopSignals();
  LCKV_CHECK(pthread_sigmask(SIG_BLOCK, &signals, nullptr) == 0);
  LCKV_CHECK(signal(SIGPIPE, SIG_IGN) != SIG_ERR);
}

void ServeUntilStopped(absl::string_view service, ServerRunner& runner, MetricsServer* metrics,
                       absl::Duration grace,
                       const std::function<void(absl::Time deadline)>& drain) {
  runner.SetReady(true);
  if (metrics != nullptr) metrics->SetReadiness([&runner] { return runner.ready(); });
  PrintReadyLine(service, runner, metrics);
  const sigset_t signals = StopSignals();
  int received = 0;
  LCKV_CHECK(sigwait(&signals, &received) == 0);
  LogInfo("stopping", {{"signal", received}, {"grace_s", absl::ToDoubleSeconds(grace)}});
  runner.Stop(grace, drain);
  if (metrics != nullptr) metrics->SetReadiness(nullptr);
  LogInfo("stopped");
}

}  // namespace lckv
