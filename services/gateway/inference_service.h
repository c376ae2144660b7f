#pragma once

#include <grpcpp/grpcpp.h>

#include <string>

#include "absl/time/time.h"
#include "lckv/v1/inference.grpc.pb.h"
#include "services/common/executor.h"
#include "services/common/tracing/tracer.h"
#include "services/gateway/admission.h"
#include "services/gateway/session_api.h"
#include "services/gateway/tenant.h"
#include "services/gateway/turn_relay.h"

namespace lckv::gateway {

struct InferenceServiceOptions {
  absl::Duration turn_timeout = absl::Minutes(10);
  absl::Duration call_timeout = absl::Seconds(15);  // of everything that is not a turn
};

// The public API on the wire: authenticates, validates, admits, and hands turns to relays, other
// calls to the executor. Its handlers never block. What it is given outlives it.
class InferenceService final : public v1::Inference::CallbackService {
 public:
  InferenceService(const InferenceServiceOptions& options, const RelayContext& relay,
                   const Tenants* tenants, Admission* admission, SessionApi* sessions,
                   Executor* executor, const Tracer* tracer);

  using Stream = grpc::ServerWriteReactor<v1::GenerateResponse>;
  using Unary = grpc::ServerUnaryReactor;
  using Context = grpc::CallbackServerContext;

  Stream* Generate(Context* context, const v1::GenerateRequest* request) override;
  Stream* Chat(Context* context, const v1::ChatRequest* request) override;

  Unary* OpenSession(Context* context, const v1::OpenSessionRequest* request,
                     v1::SessionInfo* response) override;
  Unary* GetSession(Context* context, const v1::GetSessionRequest* request,
                    v1::SessionInfo* response) override;
  Unary* ListSessions(Context* context, const v1::ListSessionsRequest* request,
                      v1::ListSessionsResponse* response) override;
  Unary* TouchSession(Context* context, const v1::TouchSessionRequest* request,
                      v1::SessionInfo* response) override;
  Unary* CloseSession(Context* context, const v1::CloseSessionRequest* request,
                      v1::CloseSessionResponse* response) override;
  Unary* Tokenize(Context* context, const v1::TokenizeRequest* request,
                  v1::TokenizeResponse* response) override;
  Unary* Detokenize(Context* context, const v1::DetokenizeRequest* request,
                    v1::DetokenizeResponse* response) override;
  Unary* ListModels(Context* context, const v1::ListModelsRequest* request,
                    v1::ListModelsResponse* response) override;

 private:
  // The tenant of a call that is to be answered: who calls first, then what is asked for.
  template <typename Request>
  absl::StatusOr<std::string> Check(const Context& context, const Request& request) const;
  Span StartCall(absl::string_view method, const Context& context) const;
  Stream* StartTurn(absl::string_view method, Context* context, Span turn,
                    v1::WorkerGenerateRequest request);
  Stream* FailStream(absl::string_view method, const absl::Status& status, Span turn);
  template <typename Request, typename Response>
  Unary* Run(absl::string_view method, Context* context, const Request* request, Response* response,
             absl::Status (SessionApi::*function)(const CallContext&, const Request&, Response*));

  const InferenceServiceOptions options_;
  const RelayContext relay_;
  const Tenants* const tenants_;
  Admission* const admission_;
  SessionApi* const sessions_;
  Executor* const executor_;
  const Tracer* const tracer_;
};

}  // namespace lckv::gateway
