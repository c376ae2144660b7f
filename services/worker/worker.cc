#include "services/worker/worker.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status_macros.h"
#include "base/units.h"
#include "cache/client/grpc_cache_client.h"
#include "rpc/channel.h"
#include "services/common/ids.h"
#include "services/common/listen_address.h"
#include "services/common/tls_setup.h"
#include "services/worker/id_tokenizer.h"

namespace lckv::worker {
namespace {

constexpr absl::Duration kHandoverTime = absl::Seconds(10);
constexpr absl::Duration kTickInterval = absl::Milliseconds(50);
constexpr int kCallThreads = 4;  // for calls that are no turns
constexpr size_t kMaxWaitingCalls = 256;
constexpr size_t kIncarnationChars = 8;

std::string MakeWorkerId(const WorkerOptions& options) {
  std::string name = !options.id.empty() ? options.id : options.advertise;
  if (name.empty()) {
    char host[256] = "localhost";
    gethostname(host, sizeof(host) - 1);
    const absl::StatusOr<ListenAddress> address = ParseListenAddress(options.listen);
    const bool fixed_port = address.ok() && address->port != 0;
    name = fixed_port ? absl::StrCat(host, ":", address->port) : absl::StrCat(host, "-", getpid());
  }
  return absl::StrCat(name, "#", RandomId().substr(0, kIncarnationChars));
}

absl::StatusOr<std::unique_ptr<Checkpoint>> OpenModel(const WorkerOptions& options) {
  const Checkpoint::Options checkpoint = {options.layer_map};
  if (options.random_weights.empty()) return Checkpoint::Open(options.model, checkpoint);
  std::ifstream file(options.random_weights, std::ios::binary);
  if (!file) return absl::NotFoundError(absl::StrCat(options.random_weights, ": not readable"));
  const std::string config((std::istreambuf_iterator<char>(file)), {});
  return Checkpoint::Random(config, options.random_seed, DType::kBf16, checkpoint);
}

absl::Status CheckOptions(const WorkerOptions& options) {
  if (options.cache_node.empty()) {
    return absl::InvalidArgumentError(
        "no cache node: sessions that outlive their worker need one (--cache-node host:port)");
  }
  if (options.model.empty() == options.random_weights.empty()) {
    return absl::InvalidArgumentError("want a model or random weights, and not both");
  }
  return CheckTlsFlags(options.tls);
}

}  // namespace

Worker::Worker(const WorkerOptions& options, std::unique_ptr<SpanExporter> exporter)
    : options_(options),
      id_(MakeWorkerId(options)),
      metrics_(&registry_, options.vllm_metrics),
      tracer_(options.tracing, std::move(exporter), &registry_) {}

absl::StatusOr<std::unique_ptr<Worker>> Worker::Start(const WorkerOptions& options) {
  LCKV_RETURN_IF_ERROR(CheckOptions(options));
  LCKV_ASSIGN_OR_RETURN(std::unique_ptr<SpanExporter> exporter, MakeSpanExporter(options.tracing));
  std::unique_ptr<Worker> worker(new Worker(options, std::move(exporter)));
  LCKV_ASSIGN_OR_RETURN(worker->tls_, LoadComponentTls(options.tls, kWorkerRole));
  worker->registry_.Add(TlsMetricTable());
  ConnectTlsMetrics(worker->tls_.get(), "components", &worker->registry_);
  LCKV_RETURN_IF_ERROR(worker->LoadModel());
  LCKV_RETURN_IF_ERROR(worker->LoadTokenizer());
  worker->MakeCore();
  LCKV_RETURN_IF_ERROR(worker->Serve());
  worker->StartMaintenance();
  return worker;
}

absl::Status Worker::LoadModel() {
  const absl::Time began = absl::Now();
  LCKV_ASSIGN_OR_RETURN(checkpoint_, OpenModel(options_));
  LCKV_ASSIGN_OR_RETURN(std::unique_ptr<Backend> backend, OpenDevice(options_.device));
  LCKV_ASSIGN_OR_RETURN(
      engine_, Engine::Create(*checkpoint_, std::move(backend), options_.engine, &metrics_));
  LogInfo("model loaded", {{"model", engine_->config().name},
                           {"layer_map", engine_->config().layer_map.ToString()},
                           {"engine", engine_->description()},
                           {"kv_bytes_per_token", engine_->page_layout().bytes_per_token()},
                           {"kv_memory", FormatBytes(engine_->load().pages_capacity *
                                                     engine_->page_layout().page_bytes())},
                           {"fingerprint", ToHex(engine_->fingerprint())},
                           {"seconds", absl::ToDoubleSeconds(absl::Now() - began)}});
  return absl::OkStatus();
}

absl::Status Worker::LoadTokenizer() {
  if (checkpoint_->tokenizer_path().empty()) {
    tokenizer_ = MakeIdTokenizer(engine_->config().vocab_size);
    return absl::OkStatus();
  }
  LCKV_ASSIGN_OR_RETURN(tokenizer_, Tokenizer::Load(checkpoint_->tokenizer_path()));
  absl::StatusOr<ChatTemplate> chat = ChatTemplate::FromJinja(checkpoint_->chat_template());
  if (chat.ok()) {
    chat_template_.emplace(*std::move(chat));
  } else {
    LogWarning("no chat", {{"reason", chat.status().message()}});
  }
  return absl::OkStatus();
}

void Worker::MakeCore() {
  cache_ =
      MakeGrpcCacheClient({options_.cache_node, ChannelSecurityFor(tls_.get(), kCacheNodeRole)});
  WorkerCoreOptions core;
  core.sync.worker_id = id_;
  core.sync.lease_ttl = options_.lease_ttl;
  core.opener.restore_timeout = options_.restore_timeout;
  core.opener.numerics = options_.numerics;
  core.opener.fingerprint = options_.fingerprint;
  core.turns.checkpoint_tokens = options_.checkpoint_tokens;
  core.turns.stream_capacity = static_cast<size_t>(options_.engine.stream_capacity);
  core.turns.commit_timeout = options_.commit_timeout;
  core.push_threads = options_.push_threads;
  WorkerCore::Parts parts;
  parts.engine = engine_.get();
  parts.tokenizer = tokenizer_.get();
  parts.chat_template = chat_template_.has_value() ? &*chat_template_ : nullptr;
  parts.cache = cache_.get();
  parts.listener = &board_;
  parts.clock = Clock::Real();
  parts.metrics = &metrics_;
  core_ = std::make_unique<WorkerCore>(parts, core);
  desk_ = std::make_unique<TurnDesk>(options_.engine.max_running_turns,
                                     static_cast<size_t>(options_.max_waiting_turns));
  ticker_ = std::make_unique<ReportTicker>(kTickInterval);
  drainer_ =
      std::make_unique<Drainer>(core_.get(), desk_.get(), &board_, &metrics_,
                                Drainer::Options{options_.drain_grace, kHandoverTime}, [this] {
                                  server_->SetReady(false);
                                  ticker_->Tick();
                                });
  executor_ = std::make_unique<Executor>(kCallThreads, kMaxWaitingCalls);
}

absl::Status Worker::Serve() {
  WorkerService::Parts parts;
  parts.engine = engine_.get();
  parts.tokenizer = tokenizer_.get();
  parts.core = core_.get();
  parts.desk = desk_.get();
  parts.board = &board_;
  parts.ticker = ticker_.get();
  parts.drainer = drainer_.get();
  parts.executor = executor_.get();
  parts.tracer = &tracer_;
  service_ = std::make_unique<WorkerService>(parts, ModelInfo(), id_);
  if (!options_.metrics_listen.empty()) {
    LCKV_ASSIGN_OR_RETURN(metrics_server_,
                          MetricsServer::Start(options_.metrics_listen, &registry_));
  }
  ServerOptions server;
  server.listen = options_.listen;
  server.max_receive_bytes = kMaxMessageBytes;
  // One gateway keeps all its turns on one connection.
  server.max_concurrent_streams =
      4 * (options_.engine.max_running_turns + options_.max_waiting_turns);
  server.reflection = options_.reflection;
  server.credentials = ServerCredentialsFor(tls_.get(), {kGatewayRole});
  LCKV_ASSIGN_OR_RETURN(
      server_, ServerRunner::Start(server, {{v1::Worker::service_full_name(), service_.get()}}));
  return absl::OkStatus();
}

void Worker::StartMaintenance() {
  metrics_.SetTurnCapacity(options_.engine.max_running_turns);
  const absl::Duration scan =
      std::clamp(options_.idle_evict / 4, absl::Milliseconds(100), absl::Seconds(1));
  maintenance_ = std::make_unique<Periodic>(scan, [this] {
    metrics_.SetUnpushed(core_->evictor.ScanIdle(options_.idle_evict));
    metrics_.SetLoad(engine_->load(), desk_->running(), desk_->waiting(),
                     core_->store.CountByState());
  });
  lease_renewal_ = std::make_unique<Periodic>(options_.lease_ttl / 10,
                                              [this] { core_->lease_keeper.RenewDue(); });
}

v1::ModelInfo Worker::ModelInfo() const {
  const ModelConfig& config = engine_->config();
  const int64_t full_map_bytes =
      2 * int64_t{config.num_layers} *
      BytesOf(options_.engine.kv_dtype, int64_t{config.num_kv_heads} * config.head_dim);
  v1::ModelInfo model =
      DescribeModel(*engine_, chat_template_.has_value(), static_cast<uint64_t>(full_map_bytes));
  if (model.name().empty()) {
    const std::string& path = options_.model.empty() ? options_.random_weights : options_.model;
    const size_t end = path.find_last_not_of('/') + 1;
    const size_t slash = path.find_last_of('/', end == 0 ? 0 : end - 1);
    const size_t begin = slash == std::string::npos ? 0 : slash + 1;
    model.set_name(path.substr(begin, end - begin));
  }
  return model;
}

absl::Duration Worker::grace() const {
  return options_.drain_grace + kHandoverTime + absl::Seconds(2);
}

void Worker::SetReady() {
  board_.SetState(v1::LoadReport::READY);
  ticker_->Tick();
}

void Worker::Drain(absl::Time deadline) {
  drainer_->Start();
  if (!drainer_->Wait(deadline)) LogError("drain cut short", {{"worker", id_}});
  maintenance_->Stop();
  lease_renewal_->Stop();
  ticker_->Stop();
}

Worker::~Worker() {
  // No call may find a part of the worker gone, nor a drain the server that it says not ready to.
  if (server_ != nullptr) server_->Stop(absl::ZeroDuration(), [](absl::Time) {});
  if (maintenance_ != nullptr) maintenance_->Stop();
  if (lease_renewal_ != nullptr) lease_renewal_->Stop();
  if (executor_ != nullptr) executor_->Shutdown();
  if (desk_ != nullptr) desk_->Shutdown();
  drainer_.reset();
  server_.reset();
}

}  // namespace lckv::worker
