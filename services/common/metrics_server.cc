#include "services/common/metrics_server.h"

#include <CivetServer.h>

#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "services/common/listen_address.h"

namespace lckv {
namespace {

class MetricsHandler final : public CivetHandler {
 public:
  explicit MetricsHandler(const MetricsRegistry* registry) : registry_(registry) {}

  bool handleGet(CivetServer*, mg_connection* connection) override {
    const char* accept = mg_get_header(connection, "Accept");
    const bool open_metrics =
        accept != nullptr && absl::StrContains(accept, "application/openmetrics-text");
    const std::string body =
        open_metrics ? registry_->SerializeOpenMetrics() : registry_->Serialize();
    const std::string head = absl::StrCat(
        "HTTP/1.1 200 OK\r\nContent-Type: ",
        open_metrics ? "application/openmetrics-text; version=1.0.0" : "text/plain; version=0.0.4",
        "; charset=utf-8\r\nContent-Length: ", body.size(), "\r\nConnection: close\r\n\r\n");
    mg_write(connection, head.data(), head.size());
    mg_write(connection, body.data(), body.size());
    return true;
  }

 private:
  const MetricsRegistry* const registry_;
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
  }

  MetricsHandler handler;
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

}  // namespace lckv
