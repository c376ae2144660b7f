#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "rpc/tls.h"
#include "services/common/config.h"
#include "services/common/metric_table.h"
#include "services/common/metrics.h"

namespace lckv {

// --tls-cert, --tls-key and --tls-ca: TLS between the components. Without them: plain text.
void AddTlsFlags(CLI::App& app, TlsFiles* files);

// INVALID_ARGUMENT unless all three files are named or none is. Does not look at the files.
absl::Status CheckTlsFlags(const TlsFiles& files);

// The same for ReadConfig: nothing, or what is wrong.
std::vector<ConfigProblem> TlsProblems(const TlsFiles& files);

// The component that has `role`; null when no files are named. INVALID_ARGUMENT as CheckTlsFlags,
// FAILED_PRECONDITION when the files are not fit.
absl::StatusOr<std::unique_ptr<TlsIdentity>> LoadComponentTls(const TlsFiles& files,
                                                              const std::string& role);

// Metrics of certificates, of every service.
MetricTable TlsMetricTable();

// Sets the metrics of `identity` (null: none): until when its certificate is valid, and what
// came of each look at changed files. `use` tells the identities of one process apart. `registry`
// has TlsMetricTable(), and outlives the identity.
void ConnectTlsMetrics(TlsIdentity* identity, absl::string_view use, MetricsRegistry* registry);

}  // namespace lckv
