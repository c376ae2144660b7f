#include "services/common/tracing/otlp_exporter.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/mutex.h"
#include "base/status_macros.h"
#include "opentelemetry/proto/collector/trace/v1/trace_service.grpc.pb.h"
#include "rpc/status_conversion.h"

namespace lckv {
namespace {

namespace collector = opentelemetry::proto::collector::trace::v1;
namespace common = opentelemetry::proto::common::v1;
namespace trace = opentelemetry::proto::trace::v1;

constexpr int kReconnectMaxMs = 10'000;

struct ValueWriter {
  common::AnyValue* out;

  void operator()(bool value) const { out->set_bool_value(value); }
  void operator()(int64_t value) const { out->set_int_value(value); }
  void operator()(double value) const { out->set_double_value(value); }
  void operator()(const std::string& value) const { out->set_string_value(value); }
  void operator()(const std::vector<std::string>& values) const {
    common::ArrayValue& array = *out->mutable_array_value();
    for (const std::string& value : values) array.add_values()->set_string_value(value);
  }
};

trace::Span::SpanKind ToProto(SpanKind kind) {
  switch (kind) {
    case SpanKind::kInternal:
      return trace::Span::SPAN_KIND_INTERNAL;
    case SpanKind::kServer:
      return trace::Span::SPAN_KIND_SERVER;
    case SpanKind::kClient:
      return trace::Span::SPAN_KIND_CLIENT;
  }
  return trace::Span::SPAN_KIND_UNSPECIFIED;
}

void Fill(const SpanData& span, trace::Span* out) {
  out->set_trace_id(absl::HexStringToBytes(span.context.trace_id));
  out->set_span_id(absl::HexStringToBytes(span.context.span_id));
  out->set_parent_span_id(absl::HexStringToBytes(span.parent));
  out->set_flags(span.context.sampled ? 1 : 0);
  out->set_name(span.name);
  out->set_kind(ToProto(span.kind));
  out->set_start_time_unix_nano(static_cast<uint64_t>(absl::ToUnixNanos(span.start)));
  out->set_end_time_unix_nano(static_cast<uint64_t>(absl::ToUnixNanos(span.end)));
  if (span.failed) out->mutable_status()->set_code(trace::Status::STATUS_CODE_ERROR);
  for (const SpanData::Attribute& attribute : span.attributes) {
    common::KeyValue& pair = *out->add_attributes();
    pair.set_key(std::string(attribute.key));
    std::visit(ValueWriter{pair.mutable_value()}, attribute.value);
  }
}

absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> Credentials(
    const TracingOptions& options) {
  if (!options.target->tls) return grpc::InsecureChannelCredentials();
  grpc::SslCredentialsOptions ssl;
  if (!options.ca_file.empty()) {
    std::ifstream file(options.ca_file, std::ios::binary);
    ssl.pem_root_certs.assign(std::istreambuf_iterator<char>(file), {});
    if (!file || ssl.pem_root_certs.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("OTEL_EXPORTER_OTLP_CERTIFICATE: ", options.ca_file, " cannot be read"));
    }
  }
  return grpc::SslCredentials(ssl);
}

class OtlpExporter final : public SpanExporter {
 public:
  OtlpExporter(const TracingOptions& options,
               const std::shared_ptr<grpc::ChannelCredentials>& credentials)
      : headers_(options.headers) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, kReconnectMaxMs);
    stub_ = collector::TraceService::NewStub(
        grpc::CreateCustomChannel(options.target->Address(), credentials, arguments));
    for (const auto& [name, value] : options.resource) {
      common::KeyValue& pair = *resource_.mutable_resource()->add_attributes();
      pair.set_key(name);
      pair.mutable_value()->set_string_value(value);
    }
    resource_.add_scope_spans()->mutable_scope()->set_name("lckv");
  }

  absl::StatusOr<size_t> Export(absl::Span<const SpanData> spans, absl::Time deadline) override {
    collector::ExportTraceServiceRequest request;
    trace::ResourceSpans& batch = *request.add_resource_spans();
    batch = resource_;
    for (const SpanData& span : spans) Fill(span, batch.mutable_scope_spans(0)->add_spans());
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(deadline));
    for (const auto& [name, value] : headers_) {
      context.AddMetadata(absl::AsciiStrToLower(name), value);
    }
    SetCall(&context);
    collector::ExportTraceServiceResponse response;
    const grpc::Status status = stub_->Export(&context, request, &response);
    SetCall(nullptr);
    LCKV_RETURN_IF_ERROR(FromGrpcStatus(status));
    return static_cast<size_t>(std::max<int64_t>(response.partial_success().rejected_spans(), 0));
  }

  void Cancel() override {
    MutexLock lock(mu_);
    if (call_ != nullptr) call_->TryCancel();
  }

 private:
  void SetCall(grpc::ClientContext* call) {
    MutexLock lock(mu_);
    call_ = call;
  }

  const NameValues headers_;
  trace::ResourceSpans resource_;  // without spans: what every batch begins with
  std::unique_ptr<collector::TraceService::Stub> stub_;
  Mutex mu_;
  grpc::ClientContext* call_ ABSL_GUARDED_BY(mu_) = nullptr;
};

}  // namespace

absl::StatusOr<std::unique_ptr<SpanExporter>> MakeOtlpExporter(const TracingOptions& options) {
  LCKV_CHECK(options.target.has_value());
  LCKV_ASSIGN_OR_RETURN(const std::shared_ptr<grpc::ChannelCredentials> credentials,
                        Credentials(options));
  return std::make_unique<OtlpExporter>(options, credentials);
}

}  // namespace lckv
