#include "services/cache_node/cache_node.h"

#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "lckv/v1/cache.grpc.pb.h"
#include "rpc/channel.h"
#include "services/common/tls_setup.h"

namespace lckv {
namespace {

constexpr absl::Duration kHousekeepingInterval = absl::Seconds(1);

absl::StatusOr<std::unique_ptr<SessionStore>> OpenStore(const CacheNodeOptions& options) {
  SessionStoreOptions store;
  store.max_sessions = options.max_sessions;
  if (options.data.empty()) {
    return OpenSessionStore(MakeMemoryKeyValue(static_cast<uint64_t>(options.arena_bytes)), store);
  }
  std::error_code error;
  std::filesystem::create_directories(options.data, error);
  if (error) {
    return absl::FailedPreconditionError(absl::StrCat(options.data, ": ", error.message()));
  }
  LCKV_ASSIGN_OR_RETURN(std::unique_ptr<KeyValue> key_value,
                        OpenRocksDbKeyValue(options.data, RocksDbOptions()));
  return OpenSessionStore(std::move(key_value), store);
}

CacheCoreOptions CoreOptions(const CacheNodeOptions& options) {
  CacheCoreOptions core;
  core.handle_ttl = options.handle_ttl;
  return core;
}

}  // namespace

absl::StatusOr<std::unique_ptr<CacheNode>> CacheNode::Start(const CacheNodeOptions& options) {
  LCKV_ASSIGN_OR_RETURN(std::unique_ptr<TlsIdentity> tls,
                        LoadComponentTls(options.tls, kCacheNodeRole));
  LCKV_ASSIGN_OR_RETURN(
      std::unique_ptr<Arena> arena,
      Arena::Create(static_cast<uint64_t>(options.arena_bytes), options.populate));
  LCKV_ASSIGN_OR_RETURN(std::unique_ptr<SessionStore> store, OpenStore(options));
  LCKV_ASSIGN_OR_RETURN(std::unique_ptr<SpanExporter> exporter, MakeSpanExporter(options.tracing));
  std::unique_ptr<CacheNode> node(
      new CacheNode(options, std::move(arena), std::move(store), std::move(exporter)));
  node->tls_ = std::move(tls);
  node->metrics_.registry().Add(TlsMetricTable());
  ConnectTlsMetrics(node->tls_.get(), "components", &node->metrics_.registry());
  if (!options.metrics_listen.empty()) {
    LCKV_ASSIGN_OR_RETURN(node->metrics_server_,
                          MetricsServer::Start(options.metrics_listen, &node->metrics_.registry()));
  }
  ServerOptions server;
  server.listen = options.listen;
  server.max_receive_bytes = kMaxMessageBytes;
  // More than is admitted: over the limits a call gets a typed error instead of waiting in its
  // connection.
  server.max_concurrent_streams =
      2 * (options.max_page_streams + static_cast<int>(options.max_waiting_calls));
  server.reflection = options.reflection;
  server.linger = options.grace;  // nobody holds a call open here without sending or reading
  server.credentials = ServerCredentialsFor(node->tls_.get(), {kGatewayRole, kWorkerRole});
  LCKV_ASSIGN_OR_RETURN(
      node->server_,
      ServerRunner::Start(server, {{v1::Cache::service_full_name(), &node->service_}}));
  return node;
}

CacheNode::CacheNode(const CacheNodeOptions& options, std::unique_ptr<Arena> arena,
                     std::unique_ptr<SessionStore> store, std::unique_ptr<SpanExporter> exporter)
    : data_(options.data),
      tracer_(options.tracing, std::move(exporter), &metrics_.registry()),
      core_(std::move(arena), std::move(store), &metrics_, CoreOptions(options)),
      quick_(options.quick_threads, options.max_waiting_calls),
      bulk_(options.bulk_threads, options.max_waiting_calls),
      service_(&core_, &metrics_, &quick_, &bulk_, &tracer_, options.max_page_streams),
      housekeeper_([this] { KeepHouse(); }) {
  metrics_.SetSessionCapacity(options.max_sessions);
}

CacheNode::~CacheNode() {
  // The server first: when it is down, no call uses the parts any more.
  server_.reset();
  {
    MutexLock lock(mu_);
    stopping_ = true;
  }
  stop_.NotifyAll();
  housekeeper_.join();
}

void CacheNode::KeepHouse() {
  MutexLock lock(mu_);
  while (!stopping_) {
    mu_.Unlock();
    core_.DropExpired();
    metrics_.SetStats(core_.Stats());
    if (!data_.empty()) metrics_.SetFilesystem(data_);
    mu_.Lock();
    if (!stopping_) stop_.WaitWithTimeout(mu_, kHousekeepingInterval);
  }
}

}  // namespace lckv
