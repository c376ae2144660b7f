#include "services/gateway/tenant.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "base/error_info.h"
#include "base/log.h"
#include "base/status_macros.h"

namespace lckv::gateway {
namespace {

constexpr char kHeader[] = "authorization";
constexpr absl::string_view kScheme = "bearer ";
// Tens of thousands of keys.
constexpr size_t kMaxFileBytes = 4 << 20;

absl::Status Refuse(const char* reason, absl::string_view what) {
  return WithErrorInfo(absl::UnauthenticatedError(what), {reason, {}});
}

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  std::string bytes(kMaxFileBytes + 1, '\0');
  if (!file || !(file.read(bytes.data(), static_cast<std::streamsize>(bytes.size())) ||
                 (file.eof() && !file.bad()))) {
    return absl::FailedPreconditionError(absl::StrCat("not readable: ", std::strerror(errno)));
  }
  bytes.resize(static_cast<size_t>(file.gcount()));
  if (bytes.size() > kMaxFileBytes) return absl::FailedPreconditionError("larger than 4 MiB");
  return bytes;
}

}  // namespace

struct Tenants::Metrics {
  explicit Metrics(MetricsRegistry* registry)
      : keys(registry->gauge("lckv_gateway_api_keys")),
        loaded(registry->counter("lckv_gateway_api_key_loads_total", {"ok"})),
        failed(registry->counter("lckv_gateway_api_key_loads_total", {"failed"})) {}

  prometheus::Gauge& keys;
  prometheus::Counter& loaded;
  prometheus::Counter& failed;
};

Tenants::Tenants() = default;

absl::StatusOr<std::unique_ptr<Tenants>> Tenants::Open(const std::string& path,
                                                       absl::Duration refresh,
                                                       MetricsRegistry* metrics) {
  std::unique_ptr<Tenants> tenants(new Tenants(path, refresh, metrics));
  LCKV_RETURN_IF_ERROR(tenants->Look());
  tenants->watcher_ = std::thread([raw = tenants.get()] { raw->Watch(); });
  return tenants;
}

Tenants::Tenants(const std::string& path, absl::Duration refresh, MetricsRegistry* metrics)
    : path_(path), refresh_(refresh), metrics_(std::make_unique<Metrics>(metrics)) {}

Tenants::~Tenants() {
  if (!watcher_.joinable()) return;
  {
    MutexLock lock(mu_);
    stopping_ = true;
  }
  stop_.NotifyAll();
  watcher_.join();
}

absl::StatusOr<std::string> Tenants::TenantOf(const grpc::ServerContextBase& context) const {
  if (path_.empty()) return "default";
  const auto [first, end] = context.client_metadata().equal_range(kHeader);
  if (first == end) return Refuse(kReasonNoApiKey, "want metadata 'authorization: Bearer KEY'");
  // Two would leave open which one counts.
  if (std::next(first) != end) return Refuse(kReasonNoApiKey, "more than one 'authorization'");
  return TenantOfHeader({first->second.data(), first->second.size()});
}

absl::StatusOr<std::string> Tenants::TenantOfHeader(absl::string_view authorization) const {
  if (!absl::StartsWithIgnoreCase(authorization, kScheme)) {
    return Refuse(kReasonNoApiKey, "want 'Bearer KEY' as authorization");
  }
  std::shared_ptr<const ApiKeys> keys;
  {
    MutexLock lock(mu_);
    keys = keys_;
  }
  const ApiKey* key = keys->Find(absl::StripAsciiWhitespace(authorization.substr(kScheme.size())));
  if (key == nullptr) return Refuse(kReasonUnknownApiKey, "the API key is not known");
  if (absl::Now() >= key->expires) return Refuse(kReasonExpiredApiKey, "the API key has expired");
  return key->tenant;
}

absl::Status Tenants::Look() {
  absl::StatusOr<std::string> text = ReadFile(path_);
  if (text.ok() && last_.ok() && *text == text_) return last_;
  absl::StatusOr<ApiKeys> keys = text.ok() ? ApiKeys::Parse(*text) : text.status();
  const absl::Status status = Annotate(keys.status(), path_);
  // What was said once is not said again with every look.
  if (!status.ok() && status == last_) return status;
  last_ = status;
  if (!status.ok()) {
    metrics_->failed.Increment();
    return status;
  }
  text_ = *std::move(text);
  metrics_->loaded.Increment();
  metrics_->keys.Set(static_cast<double>(keys->size()));
  LogInfo("API keys loaded", {{"file", path_}, {"keys", keys->size()}});
  auto loaded = std::make_shared<const ApiKeys>(*std::move(keys));
  MutexLock lock(mu_);
  keys_ = std::move(loaded);
  return absl::OkStatus();
}

void Tenants::Watch() {
  while (WaitForNextLook()) {
    const absl::Status before = last_;
    const absl::Status status = Look();
    if (!status.ok() && status != before) {
      LogError("API keys not loaded, the former ones stay", {{"status", status.ToString()}});
    }
  }
}

bool Tenants::WaitForNextLook() {
  MutexLock lock(mu_);
  const absl::Time next = absl::Now() + refresh_;
  while (!stopping_) {
    const absl::Duration left = next - absl::Now();
    if (left <= absl::ZeroDuration()) return true;
    stop_.WaitWithTimeout(mu_, left);
  }
  return false;
}

}  // namespace lckv::gateway
