#include "services/common/process_metrics.h"

#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "services/common/metrics.h"

namespace lckv {
namespace {

constexpr MetricDescriptor kTable[] = {
    {.name = "process_cpu_seconds_total",
     .type = MetricType::kCounter,
     .unit = "seconds",
     .help = "CPU time of the process, user and system.",
     .when_bad =
         "A rate near the number of cores: the machine is the limit. Add workers or cores."},
    {.name = "process_resident_memory_bytes",
     .unit = "bytes",
     .help = "Memory of the process that is in RAM.",
     .when_bad =
         "Near the container's limit: lower --kv-memory or --arena-bytes, or raise the limit."},
    {.name = "process_open_fds",
     .unit = "descriptors",
     .help = "Open file descriptors.",
     .when_bad = "Near process_max_fds: too many connections; raise the limit of open files."},
    {.name = "process_max_fds",
     .unit = "descriptors",
     .help = "File descriptors that the process may open.",
     .when_bad = "Never by itself; compare process_open_fds with it."},
    {.name = "process_start_time_seconds",
     .unit = "seconds",
     .help = "When the process started, since the epoch.",
     .when_bad = "Young without a rollout: the process was restarted; read its last log lines."},
};

double Seconds(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
}

}  // namespace

MetricTable ProcessMetricTable() { return kTable; }

ProcessMetrics::ProcessMetrics(const MetricsRegistry& registry)
    : cpu_seconds_(registry.counter("process_cpu_seconds_total")),
      resident_bytes_(registry.gauge("process_resident_memory_bytes")),
      open_fds_(registry.gauge("process_open_fds")),
      max_fds_(registry.gauge("process_max_fds")) {
  registry.gauge("process_start_time_seconds")
      .Set(absl::ToDoubleSeconds(absl::Now() - absl::UnixEpoch()));
}

void ProcessMetrics::Refresh() {
  MutexLock lock(mu_);
  rusage usage;
  if (getrusage(RUSAGE_SELF, &usage) == 0) {
    const double spent = Seconds(usage.ru_utime) + Seconds(usage.ru_stime) - cpu_seconds_.Value();
    if (spent > 0) cpu_seconds_.Increment(spent);
  }
  std::ifstream statm("/proc/self/statm");
  int64_t pages = 0;
  int64_t resident_pages = 0;
  if (statm >> pages >> resident_pages) {
    resident_bytes_.Set(static_cast<double>(resident_pages * sysconf(_SC_PAGESIZE)));
  }
  std::error_code error;
  const std::filesystem::directory_iterator descriptors("/proc/self/fd", error);
  // Without the one that lists them.
  if (!error)
    open_fds_.Set(static_cast<double>(std::distance(begin(descriptors), end(descriptors)) - 1));
  rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) max_fds_.Set(static_cast<double>(limit.rlim_cur));
}

}  // namespace lckv
