#include "services/gateway/gateway.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status_macros.h"
#include "lckv/v1/cache.grpc.pb.h"
#include "rpc/channel.h"
#include "services/common/ids.h"
#include "services/common/listen_address.h"

namespace lckv::gateway {
namespace {

constexpr absl::Duration kHousekeepingInterval = absl::Milliseconds(250);
// Above the largest legal request (kMaxTextBytes), so that a request over the limit gets a typed
// answer.
constexpr int kMaxReceiveBytes = 8 << 20;
constexpr int kMaxStreamsPerConnection = 256;

absl::Status CheckAddresses(const GatewayOptions& options) {
  if (options.workers.addresses.empty() && options.discovery.service.empty()) {
    return absl::InvalidArgumentError("neither a worker's address nor their service is given");
  }
  for (const std::string& address : options.workers.addresses) {
    LCKV_RETURN_IF_ERROR(ParseListenAddress(address).status());
  }
  return Annotate(ParseListenAddress(options.cache_node).status(), "cache node");
}

WorkerDirectoryOptions DirectoryOptions(const GatewayOptions& options) {
  WorkerDirectoryOptions workers = options.workers;
  workers.follows = !options.discovery.service.empty();
  return workers;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Gateway>> Gateway::Start(const GatewayOptions& options) {
  LCKV_RETURN_IF_ERROR(CheckAddresses(options));
  LCKV_ASSIGN_OR_RETURN(std::unique_ptr<SpanExporter> exporter, MakeSpanExporter(options.tracing));
  std::unique_ptr<Gateway> gateway(new Gateway(options, std::move(exporter)));
  if (!options.discovery.service.empty()) {
    LCKV_ASSIGN_OR_RETURN(gateway->discovery_,
                          WorkerDiscovery::Start(options.discovery, &gateway->directory_,
                                                 &gateway->metrics_.worker_lookup_failures));
  }
  if (!options.metrics_listen.empty()) {
    LCKV_ASSIGN_OR_RETURN(
        gateway->metrics_server_,
        MetricsServer::Start(options.metrics_listen, &gateway->metrics_.registry()));
  }
  ServerOptions server;
  server.listen = options.listen;
  server.max_receive_bytes = kMaxReceiveBytes;
  server.max_concurrent_streams = kMaxStreamsPerConnection;
  server.reflection = options.reflection;
  LCKV_ASSIGN_OR_RETURN(
      gateway->server_,
      ServerRunner::Start(server, {{v1::Inference::service_full_name(), &gateway->service_}}));
  return gateway;
}

Gateway::Gateway(const GatewayOptions& options, std::unique_ptr<SpanExporter> exporter)
    : options_(options),
      tracer_(options.tracing, std::move(exporter), &metrics_.registry()),
      directory_(DirectoryOptions(options)),
      stalls_(&directory_.table(), options.stall_timeout),
      admission_(options.max_concurrent_turns),
      sessions_(v1::Cache::NewStub(MakeChannel(options.cache_node)), &directory_,
                absl::StrCat("gateway-", RandomId())),
      executor_(options.call_threads, options.max_waiting_calls),
      service_(options.service,
               RelayContext{&directory_, &stalls_, &metrics_, options.clock, options.relay},
               &admission_, &sessions_, &executor_, &tracer_),
      housekeeper_([this] { KeepHouse(); }) {
  metrics_.SetTurnCapacity(options.max_concurrent_turns);
}

Gateway::~Gateway() {
  // The server first: when it is down, no call uses the parts any more.
  server_.reset();
  {
    MutexLock lock(mu_);
    stopping_ = true;
  }
  stop_.NotifyAll();
  housekeeper_.join();
}

void Gateway::Drain(absl::Time deadline) {
  admission_.Close();
  if (!admission_.WaitIdle(deadline)) {
    LogWarning("turns are cut off", {{"turns", admission_.turns()}});
  }
}

void Gateway::KeepHouse() {
  const absl::Duration interval = std::min(kHousekeepingInterval, options_.stall_timeout / 4);
  do {
    stalls_.Tick(absl::Now());
    metrics_.SetWorkers(directory_.table().CountByState());
  } while (!WaitForStop(interval));
}

bool Gateway::WaitForStop(absl::Duration timeout) {
  MutexLock lock(mu_);
  if (!stopping_) stop_.WaitWithTimeout(mu_, timeout);
  return stopping_;
}

}  // namespace lckv::gateway
