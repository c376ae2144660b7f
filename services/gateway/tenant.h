#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "services/common/metrics.h"
#include "services/gateway/api_keys.h"

namespace lckv::gateway {

// Reasons of UNAUTHENTICATED. Contracts: never rename.
inline constexpr char kReasonNoApiKey[] = "API_KEY_MISSING";
inline constexpr char kReasonUnknownApiKey[] = "API_KEY_UNKNOWN";
inline constexpr char kReasonExpiredApiKey[] = "API_KEY_EXPIRED";

// Whose sessions a call may see: the one place that decides it. It comes from who the caller is,
// never from a field of the request: the metadata "authorization: Bearer KEY" against a file of
// keys (api_keys.h). The file is read again whenever its contents change; one that cannot be read
// is logged and counted, and the former keys stay. A call is let in or not when it begins: a turn
// in progress outlives its key. Thread-safe.
class Tenants {
 public:
  // Everybody is the tenant "default".
  Tenants();
  // Looks at the file every `refresh`. `metrics` must outlive it. INVALID_ARGUMENT,
  // FAILED_PRECONDITION when it cannot be read.
  static absl::StatusOr<std::unique_ptr<Tenants>> Open(const std::string& path,
                                                       absl::Duration refresh,
                                                       MetricsRegistry* metrics);
  ~Tenants();
  Tenants(const Tenants&) = delete;
  Tenants& operator=(const Tenants&) = delete;

  // UNAUTHENTICATED when there is no key, or none that is good now.
  absl::StatusOr<std::string> TenantOf(const grpc::ServerContextBase& context) const;
  // The same of the value of "authorization".
  absl::StatusOr<std::string> TenantOfHeader(absl::string_view authorization) const;

 private:
  struct Metrics;

  Tenants(const std::string& path, absl::Duration refresh, MetricsRegistry* metrics);
  // Takes what the file has if it is new and good.
  absl::Status Look();
  void Watch();
  // False when it is time to stop.
  bool WaitForNextLook();

  const std::string path_;  // empty: there are no keys
  const absl::Duration refresh_ = absl::ZeroDuration();
  const std::unique_ptr<Metrics> metrics_;
  // Of the watching thread.
  std::string text_;
  absl::Status last_ = absl::UnknownError("not read");
  mutable Mutex mu_;
  std::shared_ptr<const ApiKeys> keys_ ABSL_GUARDED_BY(mu_);
  CondVar stop_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::thread watcher_;
};

}  // namespace lckv::gateway
