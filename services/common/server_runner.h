#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace lckv {

class MetricsServer;

struct ServerOptions {
  std::string listen = "127.0.0.1:0";  // port 0 takes a free one
  int max_receive_bytes = 4 << 20;     // 4 MiB for public listeners, more between our services
  // Per connection. Between our services one connection carries all turns and their side calls;
  // public listeners set less.
  int max_concurrent_streams = 4096;
  bool reflection = false;                               // gRPC server reflection
  std::shared_ptr<grpc::ServerCredentials> credentials;  // null: plain text
  // How long calls that are still open after the drain may go on before they are cancelled. Streams
  // without an end (health watches, load reports) always use it up.
  absl::Duration linger = absl::Milliseconds(500);
};

// A service and its full name, X::service_full_name(), under which the health service knows it.
struct NamedService {
  absl::string_view name;
  grpc::Service* service;
};

// Health names beside each service's own and the overall "": "liveness" serves as long as the
// process does, "ready" while it admits work.
inline constexpr char kHealthLiveness[] = "liveness";
inline constexpr char kHealthReady[] = "ready";

// A running gRPC server with health service (and, on request, reflection). Compressed messages are
// refused, metadata and pings are limited, the port is not shared. Thread-safe.
class ServerRunner {
 public:
  // `services` must outlive the runner. Starts not ready. INVALID_ARGUMENT for a malformed address,
  // FAILED_PRECONDITION when it cannot be bound.
  static absl::StatusOr<std::unique_ptr<ServerRunner>> Start(
      const ServerOptions& options, const std::vector<NamedService>& services);
  // Cancels what still runs.
  ~ServerRunner();
  ServerRunner(const ServerRunner&) = delete;
  ServerRunner& operator=(const ServerRunner&) = delete;

  // "host:port" with the port that was taken.
  const std::string& address() const { return address_; }

  // What the health service says of "", "ready" and every service.
  void SetReady(bool ready);
  bool ready() const { return ready_.load(); }

  // Says not ready, lets `drain` end the work in progress (it returns when there is none left, or
  // at its deadline, `grace` from now), then stops the server. Blocks; only the first call acts.
  void Stop(absl::Duration grace, const std::function<void(absl::Time deadline)>& drain);

 private:
  ServerRunner(absl::Duration linger, std::string address, std::vector<std::string> health_names,
               std::unique_ptr<grpc::Server> server);

  const absl::Duration linger_;
  const std::string address_;
  const std::vector<std::string> health_names_;
  const std::unique_ptr<grpc::Server> server_;
  std::atomic<bool> ready_{false};
  std::atomic<bool> stopped_{false};
};

// Blocks SIGTERM and SIGINT in this thread and in all that it starts later, and ignores SIGPIPE.
// Call first in main.
void BlockStopSignals();

// The life of a service once it can take work: says ready, prints one line of JSON on standard
// output
//   {"service":"gateway","listen":"127.0.0.1:8080","metrics":"127.0.0.1:9090"}
// from which scripts read the ports, waits for SIGTERM or SIGINT, then stops `runner`. REQUIRES:
// BlockStopSignals was called before any thread started. `metrics` may be null; meanwhile its
// /readyz says what `runner` does.
void ServeUntilStopped(absl::string_view service, ServerRunner& runner, MetricsServer* metrics,
                       absl::Duration grace, const std::function<void(absl::Time deadline)>& drain);

}  // namespace lckv
