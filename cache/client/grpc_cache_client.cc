#include "cache/client/grpc_cache_client.h"

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error_info.h"
#include "base/status_macros.h"
#include "cache/transport/grpc_page_transport.h"
#include "lckv/v1/cache.grpc.pb.h"
#include "rpc/outgoing_trace.h"
#include "rpc/status_conversion.h"

namespace lckv {
namespace {

// gRPC itself says UNAVAILABLE when there is no connection; the node's own UNAVAILABLE has no
// reason either. A node that stops ends its calls with CANCELLED; this client cancels none itself
// whose status it returns. Callers treat all three alike.
absl::Status WithReason(absl::Status status) {
  if (absl::IsCancelled(status)) {
    status = absl::UnavailableError(absl::StrCat("the node ended the call: ", status.message()));
  }
  if (!absl::IsUnavailable(status) || !ErrorReason(status).empty()) return status;
  return WithErrorInfo(std::move(status), {kReasonCacheUnavailable, {}});
}

class ReasonedTransport final : public PageTransport {
 public:
  explicit ReasonedTransport(v1::Cache::StubInterface* stub)
      : transport_(MakeGrpcPageTransport(stub)) {}

  absl::Status Write(uint64_t reservation, absl::Span<const PageWrite> pages,
                     absl::Time deadline) override {
    return WithReason(transport_->Write(reservation, pages, deadline));
  }
  absl::Status Read(uint64_t read_lease, absl::Span<const PageRead> pages,
                    absl::Time deadline) override {
    return WithReason(transport_->Read(read_lease, pages, deadline));
  }

 private:
  const std::unique_ptr<PageTransport> transport_;
};

class GrpcCacheClient final : public CacheClient {
 public:
  explicit GrpcCacheClient(const CacheClientOptions& options)
      : stub_(v1::Cache::NewStub(MakeChannel(options.address, options.security))),
        transport_(stub_.get()) {}

  absl::StatusOr<v1::AcquireResponse> Acquire(const v1::AcquireRequest& request,
                                              absl::Time deadline) override {
    return Call<v1::AcquireResponse>(&Stub::Acquire, request, deadline);
  }
  absl::Status Renew(const v1::RenewRequest& request, absl::Time deadline) override {
    return Call<v1::RenewResponse>(&Stub::Renew, request, deadline).status();
  }
  absl::StatusOr<v1::ReserveResponse> Reserve(const v1::ReserveRequest& request,
                                              absl::Time deadline) override {
    return Call<v1::ReserveResponse>(&Stub::Reserve, request, deadline);
  }
  absl::StatusOr<v1::CommitResponse> Commit(const v1::CommitRequest& request,
                                            absl::Time deadline) override {
    return Call<v1::CommitResponse>(&Stub::Commit, request, deadline);
  }
  absl::Status Release(const v1::ReleaseRequest& request, absl::Time deadline) override {
    return Call<v1::ReleaseResponse>(&Stub::Release, request, deadline).status();
  }
  absl::Status Touch(const v1::TouchRequest& request, absl::Time deadline) override {
    return Call<v1::TouchResponse>(&Stub::Touch, request, deadline).status();
  }
  absl::Status Delete(const v1::DeleteRequest& request, absl::Time deadline) override {
    return Call<v1::DeleteResponse>(&Stub::Delete, request, deadline).status();
  }
  absl::StatusOr<v1::StatResponse> Stat(const v1::StatRequest& request,
                                        absl::Time deadline) override {
    return Call<v1::StatResponse>(&Stub::Stat, request, deadline);
  }
  PageTransport& transport() override { return transport_; }

 private:
  using Stub = v1::Cache::StubInterface;

  template <typename Response, typename Request>
  absl::StatusOr<Response> Call(grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                                             Response*),
                                const Request& request, absl::Time deadline) {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(deadline));
    AddOutgoingTrace(context);
    Response response;
    const grpc::Status status = (stub_.get()->*method)(&context, request, &response);
    LCKV_RETURN_IF_ERROR(WithReason(FromGrpcStatus(status)));
    return response;
  }

  const std::unique_ptr<Stub> stub_;
  ReasonedTransport transport_;
};

}  // namespace

std::unique_ptr<CacheClient> MakeGrpcCacheClient(const CacheClientOptions& options) {
  return std::make_unique<GrpcCacheClient>(options);
}

}  // namespace lckv
