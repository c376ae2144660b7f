#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "base/bounded_queue.h"
#include "base/mutex.h"
#include "services/common/metrics.h"
#include "services/common/tracing/span.h"
#include "services/common/tracing/tracing_options.h"

namespace lckv {

// Sends spans to a receiver.
class SpanExporter {
 public:
  virtual ~SpanExporter() = default;
  // Blocks until the receiver has answered, `deadline`, or Cancel. Returns how many of the spans it
  // refused. One call at a time.
  virtual absl::StatusOr<size_t> Export(absl::Span<const SpanData> spans, absl::Time deadline) = 0;
  // Ends the call in progress, if there is one. From any thread.
  virtual void Cancel() = 0;
};

// What became of spans: each is counted once, under one outcome of lckv_trace_spans_total.
struct SpanCounters {
  explicit SpanCounters(MetricsRegistry* registry);

  prometheus::Counter& exported;
  prometheus::Counter& dropped;  // the queue was full
  prometheus::Counter& failed;   // refused by the receiver, or given up
};

// Spans on their way to a receiver: a bounded queue, and a thread that sends what is in it in
// batches. A batch that could not be sent is sent again, a little later each time, for as long as
// the queue has room for new spans; then it is given up for the next. Nobody who ends a span ever
// waits: when the queue is full, the span is dropped and counted. Thread-safe.
class ExportQueue final : public SpanSink {
 public:
  ExportQueue(const ExportOptions& options, std::unique_ptr<SpanExporter> exporter,
              SpanCounters* counters);
  // Takes no more spans, and sends those that wait for at most ExportOptions::flush.
  ~ExportQueue();
  ExportQueue(const ExportQueue&) = delete;
  ExportQueue& operator=(const ExportQueue&) = delete;

  void Take(SpanData span) override;

 private:
  void Run();
  // The next batch; empty: closed, and nothing is left.
  std::vector<SpanData> Collect();
  void Send(const std::vector<SpanData>& batch);
  void GiveUp(size_t spans, const absl::Status& status);
  absl::Time CallDeadline();
  // Waits before the next attempt. False: there is to be none.
  bool WaitToRetry(absl::Duration delay);

  const ExportOptions options_;
  const std::unique_ptr<SpanExporter> exporter_;
  SpanCounters* const counters_;
  BoundedQueue<SpanData> queue_;
  absl::Time last_warning_ = absl::InfinitePast();  // the thread's
  Mutex mu_;
  CondVar wake_;
  CondVar ended_;
  bool full_batch_ ABSL_GUARDED_BY(mu_) = false;
  bool done_ ABSL_GUARDED_BY(mu_) = false;
  std::optional<absl::Time> stop_at_ ABSL_GUARDED_BY(mu_);  // set: stopping
  std::thread thread_;
};

}  // namespace lckv
