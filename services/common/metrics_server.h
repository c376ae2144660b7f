#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "services/common/metrics.h"

namespace lckv {

// Answers GET /metrics over HTTP, on a port of its own so that it can be kept off the public
// network: in the OpenMetrics format to those who accept it, else in Prometheus' older one. Two
// threads. Stops in its destructor.
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

  // "address:port" with the port that was taken.
  const std::string& address() const { return address_; }

 private:
  struct Http;
  MetricsServer(std::unique_ptr<Http> http, std::string address);

  const std::unique_ptr<Http> http_;
  const std::string address_;
};

}  // namespace lckv
