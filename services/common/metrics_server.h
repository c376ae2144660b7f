#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "services/common/metrics.h"

namespace lckv {

// Answers over plain HTTP, on a port of its own so that it can be kept off the public network. GET
// /metrics: in the OpenMetrics format to those who accept it, else in Prometheus' older one. For
// those who cannot speak the service's own protocol (the kubelet's gRPC probes know no TLS) GET
// /livez: 200, and /readyz: 200 while the service admits work, else 503. Two
// threads, and five seconds for a request. Stops in its destructor.
class MetricsServer {
 public:
  // `listen` is "address:port" with a numeric address; port 0 takes a free one. `registry` must
  // outlive the server. INVALID_ARGUMENT for a malformed address, FAILED_PRECONDITION when it
  // cannot be bound.
  static absl::StatusOr<std::unique_ptr<MetricsServer>> Start(absl::string_view listen,
                                                              const MetricsRegistry* registry);
  ~MetricsServer();
  MetricsServer(const MetricsServer&) = delete;
  MetricsServer& operator=(const MetricsServer&) = delete;

  // What /readyz says; null, as at first: not ready. When it returns, the former one is not being
  // called and never will be.
  void SetReadiness(std::function<bool()> ready);

  // "address:port" with the port that was taken.
  const std::string& address() const { return address_; }

 private:
  struct Http;
  MetricsServer(std::unique_ptr<Http> http, std::string address);

  const std::unique_ptr<Http> http_;
  const std::string address_;
};

}  // namespace lckv
