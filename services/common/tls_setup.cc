#include "services/common/tls_setup.h"

#include "absl/time/time.h"

namespace lckv {
namespace {

constexpr absl::string_view kUses[] = {"components", "public"};

constexpr MetricDescriptor kTable[] = {
    {.name = "lckv_tls_certificate_expiry_timestamp_seconds",
     .unit = "seconds",
     .help = "When the certificate in use expires, in seconds since 1970; 0: none in use.",
     .when_bad =
         "Near: whoever issues certificates did not renew it, or the new files do not reach "
         "the service. After it no new connection is made.",
     .labels = {{{"use", kUses}}}},
    {.name = "lckv_tls_loads_total",
     .type = MetricType::kCounter,
     .unit = "loads",
     .help = "Certificates that were read: at the start, and when their files changed.",
     .when_bad = "failed grows: the new files are broken or do not belong together; the service "
                 "goes on with those it has. Its log says what is wrong.",
     .labels = {{{"use", kUses}, {"outcome", kLoadOutcomes}}}},
};

}  // namespace

void AddTlsFlags(CLI::App& app, TlsFiles* files) {
  app.add_option("--tls-cert", files->certificate,
                 "PEM certificate of this component; with --tls-key and --tls-ca: TLS with its "
                 "peers, who must have one too");
  app.add_option("--tls-key", files->key, "PEM key of --tls-cert");
  app.add_option("--tls-ca", files->authority, "PEM certificates of who signs those of all peers");
}

absl::Status CheckTlsFlags(const TlsFiles& files) {
  if (files.empty()) return absl::OkStatus();
  if (files.certificate.empty() || files.key.empty() || files.authority.empty()) {
    return absl::InvalidArgumentError(
        "TLS between components wants --tls-cert, --tls-key and --tls-ca, all three");
  }
  return absl::OkStatus();
}

std::vector<ConfigProblem> TlsProblems(const TlsFiles& files) {
  const absl::Status status = CheckTlsFlags(files);
  if (status.ok()) return {};
  return {{"tls-cert", std::string(status.message())}};
}

absl::StatusOr<std::unique_ptr<TlsIdentity>> LoadComponentTls(const TlsFiles& files,
                                                              const std::string& role) {
  if (absl::Status status = CheckTlsFlags(files); !status.ok()) return status;
  if (files.empty()) return nullptr;
  TlsOptions options;
  options.files = files;
  options.role = role;
  return TlsIdentity::Load(std::move(options));
}

MetricTable TlsMetricTable() { return kTable; }

void ConnectTlsMetrics(TlsIdentity* identity, absl::string_view use, MetricsRegistry* registry) {
  if (identity == nullptr) return;
  prometheus::Gauge& not_after =
      registry->gauge("lckv_tls_certificate_expiry_timestamp_seconds", {use});
  prometheus::Counter& loaded = registry->counter("lckv_tls_loads_total", {use, "ok"});
  prometheus::Counter& failed = registry->counter("lckv_tls_loads_total", {use, "failed"});
  identity->SetListener(
      [&not_after, &loaded, &failed](const absl::Status& status, absl::Time valid_until) {
        (status.ok() ? loaded : failed).Increment();
        not_after.Set(absl::ToDoubleSeconds(valid_until - absl::UnixEpoch()));
      });
}

}  // namespace lckv
