#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "services/common/trace_context.h"

namespace lckv {

enum class SpanKind {
  kInternal,
  kServer,  // a call that came in
  kClient,  // a call that went out
};

using AttributeValue = std::variant<bool, int64_t, double, std::string, std::vector<std::string>>;

// A span that has ended, as it is exported.
struct SpanData {
  struct Attribute {
    absl::string_view key;  // a literal
    AttributeValue value;
  };

  TraceContext context;
  SpanId parent;  // empty: the first of its trace
  std::string name;
  SpanKind kind = SpanKind::kInternal;
  absl::Time start;
  absl::Time end;
  bool failed = false;
  std::vector<Attribute> attributes;
};

// Takes ended spans. Thread-safe; does not block.
class SpanSink {
 public:
  virtual void Take(SpanData span) = 0;

 protected:
  ~SpanSink() = default;
};

class Span;

// A place in a trace: under which spans begin, and what the next hop gets. A value, cheap to copy;
// a default one lies in no trace. Spans begin here only while it is recording, which tracing
// (services/common/tracing/tracer.h) and the sampling decision say once, where the trace comes in.
class TracePosition {
 public:
  TracePosition() = default;
  // `sink` null: nothing is recorded. It must outlive the position and all spans under it.
  TracePosition(const TraceContext& context, SpanSink* sink) : context_(context), sink_(sink) {}

  const TraceContext& context() const { return context_; }
  bool recording() const { return sink_ != nullptr; }

  // A span that begins now, or at `start`. Not recording: a span that records nothing, at this
  // position.
  [[nodiscard]] Span StartSpan(absl::string_view name) const;
  [[nodiscard]] Span StartSpan(absl::string_view name, absl::Time start) const;
  // The span of a gRPC call; `service` as in "lckv.v1.Worker".
  [[nodiscard]] Span StartCall(SpanKind kind, absl::string_view service, absl::string_view method,
                               absl::Time start) const;
  [[nodiscard]] Span StartCall(SpanKind kind, absl::string_view service,
                               absl::string_view method) const;

 private:
  TraceContext context_;
  SpanSink* sink_ = nullptr;
};

// What is being done at the moment, as part of a trace. Ends, and goes to the sink, with End or
// when destroyed. Used by one thread at a time. Movable.
//
// What a span may say: numbers, names of ours, states. Never prompt or output text, nor names that
// clients choose (sessions, tenants), nor messages of statuses, which contain both.
class Span {
 public:
  Span() = default;
  Span(Span&& other) noexcept = default;
  Span& operator=(Span&& other) noexcept {
    End();
    position_ = other.position_;
    sink_ = other.sink_;
    data_ = std::move(other.data_);
    return *this;
  }
  ~Span() { End(); }

  // Where spans below this one begin.
  const TracePosition& position() const { return position_; }
  const TraceContext& context() const { return position_.context(); }
  bool recording() const { return data_ != nullptr; }

  // `key` is a literal, set at most once.
  template <typename T>
  void Set(absl::string_view key, T value) {
    if (!recording()) return;
    if constexpr (std::is_same_v<T, bool>) {
      Add(key, value);
    } else if constexpr (std::is_integral_v<T>) {
      Add(key, static_cast<int64_t>(value));
    } else if constexpr (std::is_floating_point_v<T>) {
      Add(key, static_cast<double>(value));
    } else if constexpr (std::is_convertible_v<T, absl::string_view>) {
      Add(key, std::string(absl::string_view(value)));
    } else {
      Add(key, AttributeValue(std::move(value)));
    }
  }

  // How it went: error.type, the reason if there is one and, of calls, rpc.grpc.status_code. A span
  // with an error has failed, unless it is that of an incoming call and the error is of a kind that
  // is the caller's doing. Once.
  void SetStatus(const absl::Status& status);

  void End() {
    if (recording()) EndAt(absl::Now());
  }
  void EndAt(absl::Time end);

 private:
  friend class TracePosition;
  Span(const TracePosition& parent, SpanSink* sink, SpanKind kind, std::string name,
       absl::Time start);

  void Add(absl::string_view key, AttributeValue value);

  TracePosition position_;
  SpanSink* sink_ = nullptr;
  std::unique_ptr<SpanData> data_;  // null: not recording, or ended
};

}  // namespace lckv
