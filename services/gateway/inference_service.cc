#include "services/gateway/inference_service.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "base/error_info.h"
#include "base/status_macros.h"
#include "rpc/status_conversion.h"
#include "services/common/ids.h"
#include "services/gateway/validation.h"

namespace lckv::gateway {
namespace {

constexpr uint32_t kDefaultMaxTokens = 256;
constexpr absl::Duration kRetryAfter = absl::Seconds(1);

// A stream that ends before its first frame.
class FailedStream final : public StreamWriter<v1::GenerateResponse> {
 public:
  explicit FailedStream(const grpc::Status& status) : StreamWriter(1) { End(status); }

 private:
  void OnDone() override { delete this; }
};

absl::Time Deadline(const grpc::CallbackServerContext& context, absl::Duration timeout) {
  return std::min(absl::FromChrono(context.deadline()), absl::Now() + timeout);
}

// The fields that Generate and Chat share.
template <typename Request>
v1::WorkerGenerateRequest CommonFields(const std::string& tenant, const Request& request) {
  v1::WorkerGenerateRequest out;
  out.set_tenant(tenant);
  out.set_session_id(request.session_id());
  out.set_create_session(request.create_session());
  *out.mutable_sampling() = request.sampling();
  if (request.has_expected_version()) out.set_expected_version(request.expected_version());
  out.set_discard_on_disconnect(request.discard_on_disconnect());
  *out.mutable_encode() = request.encode();
  out.set_durability(request.durability());
  return out;
}

// What every attempt at the turn must agree on: ids, seed and bound.
void FixTurn(v1::WorkerGenerateRequest* request) {
  request->set_turn_id(RandomId());
  if (request->session_id().empty()) {
    request->set_session_id(RandomId());
    request->set_create_session(true);
  }
  v1::SamplingParams& sampling = *request->mutable_sampling();
  if (!sampling.has_seed()) sampling.set_seed(RandomU64());
  if (!sampling.has_max_tokens()) sampling.set_max_tokens(kDefaultMaxTokens);
}

}  // namespace

InferenceService::InferenceService(const InferenceServiceOptions& options,
                                   const RelayContext& relay, const Tenants* tenants,
                                   Admission* admission, SessionApi* sessions, Executor* executor,
                                   const Tracer* tracer)
    : options_(options),
      relay_(relay),
      tenants_(tenants),
      admission_(admission),
      sessions_(sessions),
      executor_(executor),
      tracer_(tracer) {}

Span InferenceService::StartCall(absl::string_view method, const Context& context) const {
  return tracer_->Enter(context).StartCall(SpanKind::kServer, v1::Inference::service_full_name(),
                                           method);
}

template <typename Request>
absl::StatusOr<std::string> InferenceService::Check(const Context& context,
                                                    const Request& request) const {
  LCKV_ASSIGN_OR_RETURN(std::string tenant, tenants_->TenantOf(context));
  LCKV_RETURN_IF_ERROR(Validate(request));
  return tenant;
}

InferenceService::Stream* InferenceService::Generate(Context* context,
                                                     const v1::GenerateRequest* request) {
  Span turn = StartCall("Generate", *context);
  const absl::StatusOr<std::string> tenant = Check(*context, *request);
  if (!tenant.ok()) {
    return FailStream("Generate", tenant.status(), std::move(turn));
  }
  v1::WorkerGenerateRequest out = CommonFields(*tenant, *request);
  if (request->has_text()) {
    out.set_text(request->text());
  } else {
    *out.mutable_tokens() = request->tokens();
  }
  out.set_parse_special(request->parse_special());
  out.set_add_special(request->add_special());
  turn.Set("gen_ai.operation.name", "text_completion");
  return StartTurn("Generate", context, std::move(turn), std::move(out));
}

InferenceService::Stream* InferenceService::Chat(Context* context, const v1::ChatRequest* request) {
  Span turn = StartCall("Chat", *context);
  const absl::StatusOr<std::string> tenant = Check(*context, *request);
  if (!tenant.ok()) {
    return FailStream("Chat", tenant.status(), std::move(turn));
  }
  v1::WorkerGenerateRequest out = CommonFields(*tenant, *request);
  *out.mutable_chat()->mutable_messages() = request->messages();
  turn.Set("gen_ai.operation.name", "chat");
  return StartTurn("Chat", context, std::move(turn), std::move(out));
}

InferenceService::Stream* InferenceService::StartTurn(absl::string_view method, Context* context,
                                                      Span turn,
                                                      v1::WorkerGenerateRequest request) {
  Span admission = turn.position().StartSpan("admission");
  absl::StatusOr<Admission::Slot> slot = admission_->TryEnter();
  admission.SetStatus(slot.status());
  admission.End();
  if (!slot.ok()) {
    relay_.metrics->CountReject(ErrorReason(slot.status()));
    return FailStream(method, slot.status(), std::move(turn));
  }
  FixTurn(&request);
  turn.Set("gen_ai.request.max_tokens", request.sampling().max_tokens());
  auto* relay = new TurnRelay(relay_, method, *std::move(slot), std::move(turn),
                              Deadline(*context, options_.turn_timeout), std::move(request));
  relay->Start();
  return relay;
}

InferenceService::Stream* InferenceService::FailStream(absl::string_view method,
                                                       const absl::Status& status, Span turn) {
  relay_.metrics->CountRequest(method, status.code());
  turn.SetStatus(status);
  return new FailedStream(ToGrpcStatus(status));
}

template <typename Request, typename Response>
InferenceService::Unary* InferenceService::Run(
    absl::string_view method, Context* context, const Request* request, Response* response,
    absl::Status (SessionApi::*function)(const CallContext&, const Request&, Response*)) {
  Unary* reactor = context->DefaultReactor();
  const auto span = std::make_shared<Span>(StartCall(method, *context));
  const auto finish = [metrics = relay_.metrics, method, reactor,
                       span](const absl::Status& status) {
    metrics->CountRequest(method, status.code());
    span->SetStatus(status);
    span->End();
    reactor->Finish(ToGrpcStatus(status));
  };
  absl::StatusOr<std::string> tenant = Check(*context, *request);
  if (!tenant.ok()) {
    finish(tenant.status());
    return reactor;
  }
  CallContext call{context, *std::move(tenant), span->context(),
                   Deadline(*context, options_.call_timeout)};
  // Context, request and response live until Finish.
  const bool taken = executor_->TrySubmit(
      [sessions = sessions_, call = std::move(call), request, response, function, finish] {
        finish((sessions->*function)(call, *request, response));
      });
  if (!taken) {
    relay_.metrics->CountReject(kReasonQueueFull);
    finish(WithRetryAfter(WithErrorInfo(absl::ResourceExhaustedError("too many calls are waiting"),
                                        {kReasonQueueFull, {}}),
                          kRetryAfter));
  }
  return reactor;
}

InferenceService::Unary* InferenceService::OpenSession(Context* context,
                                                       const v1::OpenSessionRequest* request,
                                                       v1::SessionInfo* response) {
  return Run("OpenSession", context, request, response, &SessionApi::OpenSession);
}

InferenceService::Unary* InferenceService::GetSession(Context* context,
                                                      const v1::GetSessionRequest* request,
                                                      v1::SessionInfo* response) {
  return Run("GetSession", context, request, response, &SessionApi::GetSession);
}

InferenceService::Unary* InferenceService::ListSessions(Context* context,
                                                        const v1::ListSessionsRequest* request,
                                                        v1::ListSessionsResponse* response) {
  return Run("ListSessions", context, request, response, &SessionApi::ListSessions);
}

InferenceService::Unary* InferenceService::TouchSession(Context* context,
                                                        const v1::TouchSessionRequest* request,
                                                        v1::SessionInfo* response) {
  return Run("TouchSession", context, request, response, &SessionApi::TouchSession);
}

InferenceService::Unary* InferenceService::CloseSession(Context* context,
                                                        const v1::CloseSessionRequest* request,
                                                        v1::CloseSessionResponse* response) {
  return Run("CloseSession", context, request, response, &SessionApi::CloseSession);
}

InferenceService::Unary* InferenceService::Tokenize(Context* context,
                                                    const v1::TokenizeRequest* request,
                                                    v1::TokenizeResponse* response) {
  return Run("Tokenize", context, request, response, &SessionApi::Tokenize);
}

InferenceService::Unary* InferenceService::Detokenize(Context* context,
                                                      const v1::DetokenizeRequest* request,
                                                      v1::DetokenizeResponse* response) {
  return Run("Detokenize", context, request, response, &SessionApi::Detokenize);
}

InferenceService::Unary* InferenceService::ListModels(Context* context,
                                                      const v1::ListModelsRequest* request,
                                                      v1::ListModelsResponse* response) {
  return Run("ListModels", context, request, response, &SessionApi::ListModels);
}

}  // namespace lckv::gateway
