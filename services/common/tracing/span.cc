#include "services/common/tracing/span.h"

#include "absl/strings/str_cat.h"
#include "base/error_info.h"

namespace lckv {
namespace {

constexpr size_t kUsualAttributes = 12;

// Errors by which a server says that it could not do what was asked, and not that it would not.
bool IsServersFault(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kUnknown:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kUnimplemented:
    case absl::StatusCode::kInternal:
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDataLoss:
      return true;
    default:
      return false;
  }
}

}  // namespace

Span TracePosition::StartSpan(absl::string_view name) const {
  if (!recording()) return Span(*this, nullptr, SpanKind::kInternal, {}, {});
  return StartSpan(name, absl::Now());
}

Span TracePosition::StartSpan(absl::string_view name, absl::Time start) const {
  if (!recording()) return Span(*this, nullptr, SpanKind::kInternal, {}, {});
  return Span(*this, sink_, SpanKind::kInternal, std::string(name), start);
}

Span TracePosition::StartCall(SpanKind kind, absl::string_view service, absl::string_view method,
                              absl::Time start) const {
  if (!recording()) return Span(*this, nullptr, kind, {}, {});
  Span span(*this, sink_, kind, absl::StrCat(service, "/", method), start);
  span.Set("rpc.system", "grpc");
  span.Set("rpc.service", service);
  span.Set("rpc.method", method);
  return span;
}

Span TracePosition::StartCall(SpanKind kind, absl::string_view service,
                              absl::string_view method) const {
  return StartCall(kind, service, method, recording() ? absl::Now() : absl::Time());
}

Span::Span(const TracePosition& parent, SpanSink* sink, SpanKind kind, std::string name,
           absl::Time start)
    : position_(parent), sink_(sink) {
  if (sink == nullptr) return;
  TraceContext context = parent.context();
  context.span_id = RandomSpanId();
  position_ = TracePosition(context, sink);
  data_ = std::make_unique<SpanData>();
  data_->context = context;
  data_->parent = parent.context().span_id;
  data_->name = std::move(name);
  data_->kind = kind;
  data_->start = start;
  data_->attributes.reserve(kUsualAttributes);
}

void Span::Add(absl::string_view key, AttributeValue value) {
  data_->attributes.push_back({key, std::move(value)});
}

void Span::SetStatus(const absl::Status& status) {
  if (!recording()) return;
  const bool incoming = data_->kind == SpanKind::kServer;
  if (incoming || data_->kind == SpanKind::kClient) {
    Set("rpc.grpc.status_code", static_cast<int>(status.code()));
  }
  if (status.ok()) return;
  data_->failed = !incoming || IsServersFault(status.code());
  Set("error.type", absl::StatusCodeToString(status.code()));
  const std::string reason = ErrorReason(status);
  if (!reason.empty()) Set("lckv.error.reason", reason);
}

void Span::EndAt(absl::Time end) {
  if (!recording()) return;
  data_->end = end < data_->start ? data_->start : end;
  const std::unique_ptr<SpanData> data = std::move(data_);
  sink_->Take(std::move(*data));
}

}  // namespace lckv
