#include "services/gateway/gateway.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status_macros.h"
#include "lckv/v1/cache.grpc.pb.h"
#include "rpc/channel.h"
#include "services/common/ids.h"
#include "services/common/listen_address.h"
#include "services/common/tls_setup.h"

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

WorkerDirectoryOptions DirectoryOptions(const GatewayOptions& options,
                                        const TlsIdentity* identity) {
  WorkerDirectoryOptions workers = options.workers;
  workers.security = ChannelSecurityFor(identity, kWorkerRole);
  workers.follows = !options.discovery.service.empty();
  return workers;
}

bool IsLoopback(const std::string& listen) {
  const absl::StatusOr<ListenAddress> address = ParseListenAddress(listen);
  return address.ok() && (address->host == "localhost" || address->host == "[::1]" ||
                          absl::StartsWith(address->host, "127."));
}

}  // namespace

absl::Status CheckPublicTls(const GatewayOptions& options) {
  const TlsFiles& files = options.public_tls;
  if (files.empty()) return absl::OkStatus();
  if (files.certificate.empty() || files.key.empty()) {
    return absl::InvalidArgumentError(
        "TLS on the public listener wants --public-tls-cert and --public-tls-key, both");
  }
  if (options.public_plain) {
    return absl::InvalidArgumentError("--public-plain and --public-tls-cert exclude each other");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Gateway>> Gateway::Start(const GatewayOptions& options) {
  LCKV_RETURN_IF_ERROR(CheckAddresses(options));
  LCKV_ASSIGN_OR_RETURN(Identities identities, LoadIdentities(options));
  LCKV_ASSIGN_OR_RETURN(std::unique_ptr<SpanExporter> exporter, MakeSpanExporter(options.tracing));
  std::unique_ptr<Gateway> gateway(
      new Gateway(options, std::move(identities), std::move(exporter)));
  LCKV_RETURN_IF_ERROR(gateway->MakeService());
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
  server.credentials = gateway->ListenerCredentials();
  LCKV_ASSIGN_OR_RETURN(
      gateway->server_,
      ServerRunner::Start(server, {{v1::Inference::service_full_name(), gateway->service_.get()}}));
  gateway->WarnOfExposure();
  return gateway;
}

absl::StatusOr<Gateway::Identities> Gateway::LoadIdentities(const GatewayOptions& options) {
  LCKV_RETURN_IF_ERROR(CheckPublicTls(options));
  Identities identities;
  LCKV_ASSIGN_OR_RETURN(identities.component, LoadComponentTls(options.tls, kGatewayRole));
  if (!options.public_tls.empty()) {
    TlsOptions listener;
    listener.files = options.public_tls;
    LCKV_ASSIGN_OR_RETURN(identities.listener, TlsIdentity::Load(std::move(listener)));
  }
  return identities;
}

Gateway::Gateway(const GatewayOptions& options, Identities identities,
                 std::unique_ptr<SpanExporter> exporter)
    : options_(options),
      identities_(std::move(identities)),
      tracer_(options.tracing, std::move(exporter), &metrics_.registry()),
      directory_(DirectoryOptions(options, identities_.component.get())),
      stalls_(&directory_.table(), options.stall_timeout),
      admission_(options.max_concurrent_turns),
      sessions_(
          v1::Cache::NewStub(MakeChannel(
              options.cache_node, ChannelSecurityFor(identities_.component.get(), kCacheNodeRole))),
          &directory_, absl::StrCat("gateway-", RandomId())),
      executor_(options.call_threads, options.max_waiting_calls),
      housekeeper_([this] { KeepHouse(); }) {
  metrics_.SetTurnCapacity(options.max_concurrent_turns);
  metrics_.registry().Add(TlsMetricTable());
  ConnectTlsMetrics(identities_.component.get(), "components", &metrics_.registry());
  ConnectTlsMetrics(identities_.listener.get(), "public", &metrics_.registry());
}

absl::Status Gateway::MakeService() {
  if (options_.api_keys.empty()) {
    tenants_ = std::make_unique<Tenants>();
  } else {
    LCKV_ASSIGN_OR_RETURN(tenants_, Tenants::Open(options_.api_keys, options_.api_keys_refresh,
                                                  &metrics_.registry()));
  }
  const RelayContext relay{&directory_, &stalls_, &metrics_, options_.clock, options_.relay};
  service_ = std::make_unique<InferenceService>(options_.service, relay, tenants_.get(),
                                                &admission_, &sessions_, &executor_, &tracer_);
  return absl::OkStatus();
}

void Gateway::WarnOfExposure() const {
  if (IsLoopback(options_.listen)) return;
  if (options_.api_keys.empty()) {
    LogWarning("whoever reaches the public listener is served: no --api-keys",
               {{"listen", options_.listen}});
  } else if (ListenerCredentials() == nullptr && !options_.public_plain) {
    LogWarning("API keys come in plain text: no TLS on the public listener",
               {{"listen", options_.listen}});
  }
}

std::shared_ptr<grpc::ServerCredentials> Gateway::ListenerCredentials() const {
  if (identities_.listener != nullptr) {
    return identities_.listener->PublicServerCredentials(!options_.public_tls.authority.empty());
  }
  if (identities_.component == nullptr || options_.public_plain) return nullptr;
  return identities_.component->PublicServerCredentials(/*want_certificate=*/false);
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
    stalls_.Tick(options_.clock->Now());
    metrics_.SetWorkers(directory_.table().CountByState());
  } while (!WaitForStop(interval));
}

bool Gateway::WaitForStop(absl::Duration timeout) {
  MutexLock lock(mu_);
  if (!stopping_) stop_.WaitWithTimeout(mu_, timeout);
  return stopping_;
}

}  // namespace lckv::gateway
