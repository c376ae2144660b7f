#pragma once

#include <functional>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "cache/core/cache_core.h"
#include "lckv/v1/cache.grpc.pb.h"
#include "services/cache_node/cache_metrics.h"
#include "services/cache_node/page_streams.h"
#include "services/common/executor.h"
#include "services/common/tracing/tracer.h"

namespace lckv {

// The Cache service over a CacheCore. Calls that touch storage run in executors, never on gRPC's
// threads: those that move many pages or records (Acquire, Touch, Delete, List) in `bulk`, so that
// they do not hold up the quick ones (Renew, Reserve, Commit, Release, Stat) in `quick`. A full
// executor is RESOURCE_EXHAUSTED. Everything passed in must outlive the server.
class CacheService final : public v1::Cache::CallbackService {
 public:
  CacheService(CacheCore* core, CacheMetrics* metrics, Executor* quick, Executor* bulk,
               const Tracer* tracer, int max_page_streams);

  grpc::ServerUnaryReactor* Acquire(grpc::CallbackServerContext* context,
                                    const v1::AcquireRequest* request,
                                    v1::AcquireResponse* response) override;
  grpc::ServerUnaryReactor* Renew(grpc::CallbackServerContext* context,
                                  const v1::RenewRequest* request,
                                  v1::RenewResponse* response) override;
  grpc::ServerUnaryReactor* Reserve(grpc::CallbackServerContext* context,
                                    const v1::ReserveRequest* request,
                                    v1::ReserveResponse* response) override;
  grpc::ServerUnaryReactor* Commit(grpc::CallbackServerContext* context,
                                   const v1::CommitRequest* request,
                                   v1::CommitResponse* response) override;
  grpc::ServerUnaryReactor* Release(grpc::CallbackServerContext* context,
                                    const v1::ReleaseRequest* request,
                                    v1::ReleaseResponse* response) override;
  grpc::ServerUnaryReactor* Touch(grpc::CallbackServerContext* context,
                                  const v1::TouchRequest* request,
                                  v1::TouchResponse* response) override;
  grpc::ServerUnaryReactor* Delete(grpc::CallbackServerContext* context,
                                   const v1::DeleteRequest* request,
                                   v1::DeleteResponse* response) override;
  grpc::ServerUnaryReactor* Stat(grpc::CallbackServerContext* context,
                                 const v1::StatRequest* request,
                                 v1::StatResponse* response) override;
  grpc::ServerUnaryReactor* List(grpc::CallbackServerContext* context,
                                 const v1::ListRequest* request,
                                 v1::ListResponse* response) override;
  grpc::ServerReadReactor<v1::WritePagesRequest>* WritePages(
      grpc::CallbackServerContext* context, v1::WritePagesResponse* response) override;
  grpc::ServerWriteReactor<v1::ReadPagesResponse>* ReadPages(
      grpc::CallbackServerContext* context, const v1::ReadPagesRequest* request) override;

 private:
  // Runs `call` in `executor` and finishes the reactor with its status. `call` may say in the span
  // what it did.
  grpc::ServerUnaryReactor* Run(grpc::CallbackServerContext* context, Executor* executor,
                                absl::string_view method, std::function<absl::Status(Span&)> call);

  CacheCore* const core_;
  CacheMetrics* const metrics_;
  const Tracer* const tracer_;
  Executor* const quick_;
  Executor* const bulk_;
  PageStreams streams_;
};

}  // namespace lckv
