#include "services/common/metrics_server.h"

#include <CivetServer.h>

#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/mutex.h"
#include "base/status_macros.h"
#include "services/common/listen_address.h"

namespace lckv {
namespace {

void Answer(mg_connection* connection, absl::string_view status, absl::string_view type,
            absl::string_view body) {
  const std::string head =
      absl::StrCat("HTTP/1.1 ", status, "\r\nContent-Type: ", type,
                   "\r\nContent-Length: ", body.size(), "\r\nConnection: close\r\n\r\n");
  mg_write(connection, head.data(), head.size());
  mg_write(connection, body.data(), body.size());
}

class MetricsHandler final : public CivetHandler {
 public:
  explicit MetricsHandler(const MetricsRegistry* registry) : registry_(registry) {}

  bool handleGet(CivetServer*, mg_connection* connection) override {
    const char* accept = mg_get_header(connection, "Accept");
    if (accept != nullptr && absl::StrContains(accept, "application/openmetrics-text")) {
      Answer(connection, "200 OK", "application/openmetrics-text; version=1.0.0; charset=utf-8",
             registry_->SerializeOpenMetrics());
    } else {
      Answer(connection, "200 OK", "text/plain; version=0.0.4; charset=utf-8",
             registry_->Serialize());
    }
    return true;
  }

 private:
  const MetricsRegistry* const registry_;
};

// Yes or no, for probes.
class ProbeHandler final : public CivetHandler {
 public:
  explicit ProbeHandler(std::function<bool()> probe) : probe_(std::move(probe)) {}

  void Set(std::function<bool()> probe) {
    MutexLock lock(mu_);
    probe_ = std::move(probe);
  }
  bool handleGet(CivetServer*, mg_connection* connection) override {
    const bool yes = Ask();
    Answer(connection, yes ? "200 OK" : "503 Service Unavailable", "text/plain",
           yes ? "ok\n" : "not ready\n");
    return true;
  }

 private:
  bool Ask() {
    MutexLock lock(mu_);
    return probe_ && probe_();
  }

  Mutex mu_;
  std::function<bool()> probe_ ABSL_GUARDED_BY(mu_);
};

int LogHttpMessage(const mg_connection*, const char* message) {
  LogWarning("metrics server", {{"message", message}});
  return 1;  // handled
}

CivetCallbacks LoggingCallbacks() {
  CivetCallbacks callbacks;
  callbacks.log_message = LogHttpMessage;
  return callbacks;
}

}  // namespace

struct MetricsServer::Http {
  Http(const std::vector<std::string>& options, const MetricsRegistry* registry)
      : handler(registry), callbacks(LoggingCallbacks()), server(options, &callbacks) {
    server.addHandler("/metrics", handler);
    server.addHandler("/livez", live);
    server.addHandler("/readyz", ready);
  }

  MetricsHandler handler;
  ProbeHandler live{[] { return true; }};
  ProbeHandler ready{nullptr};
  CivetCallbacks callbacks;
  CivetServer server;
};

absl::StatusOr<std::unique_ptr<MetricsServer>> MetricsServer::Start(
    absl::string_view listen, const MetricsRegistry* registry) {
  LCKV_ASSIGN_OR_RETURN(const ListenAddress address, ParseListenAddress(listen));
  const std::vector<std::string> options = {"listening_ports",    std::string(listen),
                                            "num_threads",        "2",
                                            "request_timeout_ms", "5000",
                                            "enable_keep_alive",  "no"};
  std::unique_ptr<Http> http;
  try {
    http = std::make_unique<Http>(options, registry);
  } catch (const CivetException&) {
    return absl::FailedPreconditionError(absl::StrCat("metrics: cannot listen on ", listen,
                                                      ": in use, or not an address of this host"));
  }
  const std::vector<int> ports = http->server.getListeningPorts();
  if (ports.empty()) {
    return absl::FailedPreconditionError(absl::StrCat("metrics: no port is open on ", listen));
  }
  return std::unique_ptr<MetricsServer>(
      new MetricsServer(std::move(http), absl::StrCat(address.host, ":", ports.front())));
}

MetricsServer::MetricsServer(std::unique_ptr<Http> http, std::string address)
    : http_(std::move(http)), address_(std::move(address)) {}

MetricsServer::~MetricsServer() = default;

void MetricsServer::SetReadiness(std::function<bool()> ready) {
  http_->ready.Set(std::move(ready));
}

}  // namespace lckv
