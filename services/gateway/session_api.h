#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "lckv/v1/cache.grpc.pb.h"
#include "lckv/v1/inference.pb.h"
#include "services/common/trace_context.h"
#include "services/gateway/worker_directory.h"

namespace lckv::gateway {

// On whose behalf, until when.
struct CallContext {
  const grpc::CallbackServerContext* client;  // its cancellation passes on; outlives the call
  std::string tenant;
  TraceContext trace;
  absl::Time deadline;
};

// The calls of Inference that are not turns: sessions live in the cache node, hot ones also in a
// worker; models and tokenizers live in the workers. Requests are validated already. Every function
// blocks until done or the deadline: never call one on a gRPC thread. Thread-safe.
class SessionApi {
 public:
  // `directory` must outlive it. `holder_id` names this gateway in the short leases by which it
  // makes sessions.
  SessionApi(std::shared_ptr<v1::Cache::Stub> cache, WorkerDirectory* directory,
             std::string holder_id);

  // Opening a session that exists is no error: it stays as it is.
  absl::Status OpenSession(const CallContext& call, const v1::OpenSessionRequest& request,
                           v1::SessionInfo* info);
  absl::Status GetSession(const CallContext& call, const v1::GetSessionRequest& request,
                          v1::SessionInfo* info);
  absl::Status ListSessions(const CallContext& call, const v1::ListSessionsRequest& request,
                            v1::ListSessionsResponse* response);
  // With `prefetch`, waits for the worker; a failure to prefetch is no error.
  absl::Status TouchSession(const CallContext& call, const v1::TouchSessionRequest& request,
                            v1::SessionInfo* info);
  // ABORTED (SESSION_BUSY) while a turn of the session is running.
  absl::Status CloseSession(const CallContext& call, const v1::CloseSessionRequest& request,
                            v1::CloseSessionResponse* response);

  // Answered by any ready worker.
  absl::Status Tokenize(const CallContext& call, const v1::TokenizeRequest& request,
                        v1::TokenizeResponse* response);
  absl::Status Detokenize(const CallContext& call, const v1::DetokenizeRequest& request,
                          v1::DetokenizeResponse* response);
  absl::Status ListModels(const CallContext& call, const v1::ListModelsRequest& request,
                          v1::ListModelsResponse* response);

 private:
  absl::Status Stat(const CallContext& call, const std::string& session_id, v1::SessionInfo* info);
  void FillInfo(const CallContext& call, const v1::StatResponse& stat, v1::SessionInfo* info) const;
  void Prefetch(const CallContext& call, const std::string& session_id);
  // Sends a call to a ready worker, and to another while workers do not answer.
  template <typename Request, typename Response>
  absl::Status AskAnyWorker(const CallContext& call,
                            grpc::Status (v1::Worker::Stub::*method)(grpc::ClientContext*,
                                                                     const Request&, Response*),
                            const Request& request, Response* response);

  const std::shared_ptr<v1::Cache::Stub> cache_;
  WorkerDirectory* const directory_;
  const std::string holder_id_;
};

}  // namespace lckv::gateway
