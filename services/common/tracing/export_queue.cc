#include "services/common/tracing/export_queue.h"

#include <algorithm>
#include <utility>

#include "absl/time/clock.h"
#include "base/error_info.h"
#include "base/log.h"
#include "services/common/tracing/trace_metric_table.h"

namespace lckv {
namespace {

constexpr absl::Duration kWarningInterval = absl::Minutes(1);

MetricsRegistry* WithTable(MetricsRegistry* registry) {
  registry->Add(TraceMetricTable());
  return registry;
}

// Whether the receiver may take the same spans later, by the OTLP specification.
bool IsRetryable(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kCancelled:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kOutOfRange:
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDataLoss:
      return true;
    case absl::StatusCode::kResourceExhausted:
      return GetRetryAfter(status).has_value();
    default:
      return false;
  }
}

}  // namespace

SpanCounters::SpanCounters(MetricsRegistry* registry)
    : exported(WithTable(registry)->counter("lckv_trace_spans_total", {"exported"})),
      dropped(registry->counter("lckv_trace_spans_total", {"dropped"})),
      failed(registry->counter("lckv_trace_spans_total", {"failed"})) {}

ExportQueue::ExportQueue(const ExportOptions& options, std::unique_ptr<SpanExporter> exporter,
                         SpanCounters* counters)
    : options_(options),
      exporter_(std::move(exporter)),
      counters_(counters),
      queue_(options.queue_capacity),
      thread_([this] { Run(); }) {}

ExportQueue::~ExportQueue() {
  queue_.Close();
  {
    MutexLock lock(mu_);
    const absl::Time stop_at = absl::Now() + options_.flush;
    stop_at_ = stop_at;
    wake_.NotifyAll();
    while (!done_ && absl::Now() < stop_at) ended_.WaitWithTimeout(mu_, stop_at - absl::Now());
  }
  // What is still to be sent has no time left.
  exporter_->Cancel();
  thread_.join();
}

void ExportQueue::Take(SpanData span) {
  if (!queue_.TryPush(std::move(span))) {
    counters_->dropped.Increment();
    return;
  }
  // The thread holds the first span of the batch.
  if (queue_.size() + 1 < options_.batch_spans) return;
  MutexLock lock(mu_);
  full_batch_ = true;
  wake_.NotifyOne();
}

void ExportQueue::Run() {
  for (;;) {
    const std::vector<SpanData> batch = Collect();
    if (batch.empty()) break;
    Send(batch);
  }
  MutexLock lock(mu_);
  done_ = true;
  ended_.NotifyAll();
}

std::vector<SpanData> ExportQueue::Collect() {
  std::vector<SpanData> batch;
  std::optional<SpanData> span = queue_.Pop();
  if (!span.has_value()) return batch;
  {
    // Not Pop after Pop: each would wake this thread for one span.
    const absl::Time until = absl::Now() + options_.delay;
    MutexLock lock(mu_);
    while (!full_batch_ && !stop_at_.has_value() && queue_.size() + 1 < options_.batch_spans) {
      const absl::Duration left = until - absl::Now();
      if (left <= absl::ZeroDuration()) break;
      wake_.WaitWithTimeout(mu_, left);
    }
    full_batch_ = false;
  }
  while (span.has_value()) {
    batch.push_back(*std::move(span));
    if (batch.size() == options_.batch_spans) break;
    span = queue_.TryPop();
  }
  return batch;
}

void ExportQueue::Send(const std::vector<SpanData>& batch) {
  absl::Duration backoff = options_.backoff_min;
  for (;;) {
    const absl::StatusOr<size_t> refused = exporter_->Export(batch, CallDeadline());
    if (refused.ok()) {
      const size_t lost = std::min(*refused, batch.size());
      counters_->exported.Increment(static_cast<double>(batch.size() - lost));
      if (lost > 0) GiveUp(lost, absl::InvalidArgumentError("refused by the receiver"));
      return;
    }
    const absl::Duration delay = GetRetryAfter(refused.status()).value_or(backoff);
    if (!IsRetryable(refused.status()) || queue_.size() >= queue_.capacity() ||
        !WaitToRetry(std::min(delay, options_.backoff_max))) {
      GiveUp(batch.size(), refused.status());
      return;
    }
    backoff = std::min(2 * backoff, options_.backoff_max);
  }
}

void ExportQueue::GiveUp(size_t spans, const absl::Status& status) {
  counters_->failed.Increment(static_cast<double>(spans));
  const absl::Time now = absl::Now();
  if (now - last_warning_ < kWarningInterval) return;
  last_warning_ = now;
  LogWarning("spans not exported", {{"spans", spans}, {"status", status.ToString()}});
}

absl::Time ExportQueue::CallDeadline() {
  MutexLock lock(mu_);
  return std::min(absl::Now() + options_.timeout, stop_at_.value_or(absl::InfiniteFuture()));
}

bool ExportQueue::WaitToRetry(absl::Duration delay) {
  const absl::Time until = absl::Now() + delay;
  MutexLock lock(mu_);
  while (!stop_at_.has_value()) {
    const absl::Duration left = until - absl::Now();
    if (left <= absl::ZeroDuration()) return true;
    wake_.WaitWithTimeout(mu_, left);
  }
  return false;
}

}  // namespace lckv
