#pragma once

#include <grpcpp/grpcpp.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "opentelemetry/proto/collector/trace/v1/trace_service.grpc.pb.h"
#include "services/common/tracing/tracing_options.h"

namespace lckv {

// A receiver of OTLP in this process.
class OtlpReceiver final
    : public opentelemetry::proto::collector::trace::v1::TraceService::Service {
 public:
  using Request = opentelemetry::proto::collector::trace::v1::ExportTraceServiceRequest;
  using Response = opentelemetry::proto::collector::trace::v1::ExportTraceServiceResponse;
  using Spans = std::vector<opentelemetry::proto::trace::v1::Span>;

  OtlpReceiver() {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  ~OtlpReceiver() override { server_->Shutdown(); }

  // Tracing to this receiver, without delay.
  TracingOptions Options() const {
    TracingOptions options;
    options.target = OtlpTarget{"127.0.0.1", port_, /*tls=*/false};
    options.exporting.delay = absl::Milliseconds(1);
    return options;
  }
  void SetRejected(int64_t spans) {
    MutexLock lock(mu_);
    rejected_ = spans;
  }

  std::vector<Request> requests() const {
    MutexLock lock(mu_);
    return requests_;
  }
  std::string metadata(const std::string& key) const {
    MutexLock lock(mu_);
    const auto found = metadata_.find(key);
    return found == metadata_.end() ? "" : found->second;
  }
  Spans spans() const {
    Spans spans;
    for (const Request& request : requests()) {
      for (const auto& resource : request.resource_spans()) {
        for (const auto& scope : resource.scope_spans()) {
          spans.insert(spans.end(), scope.spans().begin(), scope.spans().end());
        }
      }
    }
    return spans;
  }

 private:
  grpc::Status Export(grpc::ServerContext* context, const Request* request,
                      Response* response) override {
    MutexLock lock(mu_);
    for (const auto& [key, value] : context->client_metadata()) {
      metadata_[std::string(key.data(), key.size())] = std::string(value.data(), value.size());
    }
    requests_.push_back(*request);
    if (rejected_ > 0) response->mutable_partial_success()->set_rejected_spans(rejected_);
    return grpc::Status::OK;
  }

  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
  mutable Mutex mu_;
  int64_t rejected_ ABSL_GUARDED_BY(mu_) = 0;
  std::vector<Request> requests_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, std::string> metadata_ ABSL_GUARDED_BY(mu_);
};

}  // namespace lckv
