#include "services/cache_node/cache_service.h"

#include <memory>
#include <utility>

#include "base/error_info.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "rpc/status_conversion.h"

namespace lckv {
namespace {

constexpr absl::Duration kRetryAfterFull = absl::Milliseconds(500);

// Moves the value of `result` to `out`.
template <typename Response>
absl::Status Deliver(absl::StatusOr<Response> result, Response* out) {
  LCKV_RETURN_IF_ERROR(result.status());
  *out = *std::move(result);
  return absl::OkStatus();
}

// What an operator must see; the rest is the callers' doing.
bool IsOurFault(const absl::Status& status) {
  return absl::IsInternal(status) || absl::IsUnavailable(status) || absl::IsDataLoss(status) ||
         absl::IsUnknown(status);
}

}  // namespace

CacheService::CacheService(CacheCore* core, CacheMetrics* metrics, Executor* quick, Executor* bulk,
                           const Tracer* tracer, int max_page_streams)
    : core_(core),
      metrics_(metrics),
      tracer_(tracer),
      quick_(quick),
      bulk_(bulk),
      streams_{core, metrics, tracer, max_page_streams} {}

grpc::ServerUnaryReactor* CacheService::Run(grpc::CallbackServerContext* context,
                                            Executor* executor, absl::string_view method,
                                            std::function<absl::Status(Span&)> call) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const auto span = std::make_shared<Span>(tracer_->Continue(*context).StartCall(
      SpanKind::kServer, v1::Cache::service_full_name(), method));
  const auto finish = [this, reactor, method, span](const absl::Status& status) {
    metrics_->OnCall(method, status);
    span->SetStatus(status);
    span->End();
    if (IsOurFault(status)) {
      LogWarning(
          "call failed",
          {{"method", method}, {"status", status.ToString()}, {"trace", span->context().trace_id}});
    }
    reactor->Finish(ToGrpcStatus(status));
  };
  const bool queued = executor->TrySubmit([context, finish, span, call = std::move(call)] {
    // Nobody waits any more: leave the disk to those who do.
    finish(context->IsCancelled() ? absl::CancelledError("cancelled while waiting") : call(*span));
  });
  if (!queued) {
    finish(WithRetryAfter(WithErrorInfo(absl::ResourceExhaustedError("too many waiting calls"),
                                        {kReasonQueueFull, {}}),
                          kRetryAfterFull));
  }
  return reactor;
}

grpc::ServerUnaryReactor* CacheService::Acquire(grpc::CallbackServerContext* context,
                                                const v1::AcquireRequest* request,
                                                v1::AcquireResponse* response) {
  return Run(context, bulk_, "Acquire", [=, this](Span& span) {
    const absl::Status status = Deliver(core_->Acquire(*request), response);
    span.Set("lckv.session.created", response->created());
    span.Set("lckv.transcript_tokens", response->manifest().tokens_size());
    span.Set("lckv.pages", response->extents_size());
    return status;
  });
}

grpc::ServerUnaryReactor* CacheService::Renew(grpc::CallbackServerContext* context,
                                              const v1::RenewRequest* request, v1::RenewResponse*) {
  return Run(context, quick_, "Renew", [=, this](Span&) { return core_->Renew(*request); });
}

grpc::ServerUnaryReactor* CacheService::Reserve(grpc::CallbackServerContext* context,
                                                const v1::ReserveRequest* request,
                                                v1::ReserveResponse* response) {
  return Run(context, quick_, "Reserve", [=, this](Span& span) {
    span.Set("lckv.pages", request->pages());
    return Deliver(core_->Reserve(*request), response);
  });
}

grpc::ServerUnaryReactor* CacheService::Commit(grpc::CallbackServerContext* context,
                                               const v1::CommitRequest* request,
                                               v1::CommitResponse* response) {
  return Run(context, quick_, "Commit", [=, this](Span& span) {
    span.Set("lckv.session.version", request->manifest().version());
    span.Set("lckv.pages", request->page_positions_size());
    span.Set("lckv.durable", request->sync());
    return Deliver(core_->Commit(*request), response);
  });
}

grpc::ServerUnaryReactor* CacheService::Release(grpc::CallbackServerContext* context,
                                                const v1::ReleaseRequest* request,
                                                v1::ReleaseResponse*) {
  return Run(context, quick_, "Release", [=, this](Span&) { return core_->Release(*request); });
}

grpc::ServerUnaryReactor* CacheService::Touch(grpc::CallbackServerContext* context,
                                              const v1::TouchRequest* request, v1::TouchResponse*) {
  return Run(context, bulk_, "Touch", [=, this](Span&) { return core_->Touch(*request); });
}

grpc::ServerUnaryReactor* CacheService::Delete(grpc::CallbackServerContext* context,
                                               const v1::DeleteRequest* request,
                                               v1::DeleteResponse*) {
  return Run(context, bulk_, "Delete", [=, this](Span&) { return core_->Delete(*request); });
}

grpc::ServerUnaryReactor* CacheService::Stat(grpc::CallbackServerContext* context,
                                             const v1::StatRequest* request,
                                             v1::StatResponse* response) {
  return Run(context, quick_, "Stat",
             [=, this](Span&) { return Deliver(core_->Stat(*request), response); });
}

grpc::ServerUnaryReactor* CacheService::List(grpc::CallbackServerContext* context,
                                             const v1::ListRequest* request,
                                             v1::ListResponse* response) {
  return Run(context, bulk_, "List",
             [=, this](Span&) { return Deliver(core_->List(*request), response); });
}

grpc::ServerReadReactor<v1::WritePagesRequest>* CacheService::WritePages(
    grpc::CallbackServerContext* context, v1::WritePagesResponse* response) {
  return NewWritePages(&streams_, *context, response);
}

grpc::ServerWriteReactor<v1::ReadPagesResponse>* CacheService::ReadPages(
    grpc::CallbackServerContext* context, const v1::ReadPagesRequest* request) {
  return NewReadPages(&streams_, *context, *request);
}

}  // namespace lckv
