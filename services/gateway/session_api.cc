#include "services/gateway/session_api.h"

#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/error_info.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "rpc/status_conversion.h"
#include "services/common/ids.h"
#include "services/gateway/router.h"

namespace lckv::gateway {
namespace {

constexpr uint32_t kDefaultPageSize = 100;
constexpr int kMaxWorkersAsked = 3;
// Only for as long as opening takes: it is given back at once, unless the client leaves in between.
constexpr uint32_t kOpenLeaseTtlMs = 1000;
constexpr absl::Duration kRetryAfter = absl::Seconds(1);

std::unique_ptr<grpc::ClientContext> NextHop(const CallContext& call) {
  std::unique_ptr<grpc::ClientContext> context =
      grpc::ClientContext::FromCallbackServerContext(*call.client);
  context->set_deadline(absl::ToChronoTime(call.deadline));
  AddTraceparent(call.trace, context.get());
  return context;
}

// A server that stops ends its calls with CANCELLED. Unless the client has cancelled, that is the
// lack of an answer.
absl::Status AnswerOf(const CallContext& call, const grpc::Status& answer) {
  absl::Status status = FromGrpcStatus(answer);
  if (!absl::IsCancelled(status) || call.client->IsCancelled()) return status;
  return absl::UnavailableError(absl::StrCat("the call was ended: ", status.message()));
}

// A cache node that does not answer says nothing itself: its name is put into the error here.
absl::Status FromCache(const CallContext& call, const grpc::Status& answer) {
  absl::Status status = AnswerOf(call, answer);
  if (!absl::IsUnavailable(status) || !ErrorReason(status).empty()) return status;
  return WithRetryAfter(
      WithErrorInfo(Annotate(status, "cache node"), {kReasonCacheUnavailable, {}}), kRetryAfter);
}

}  // namespace

SessionApi::SessionApi(std::shared_ptr<v1::Cache::Stub> cache, WorkerDirectory* directory,
                       std::string holder_id)
    : cache_(std::move(cache)), directory_(directory), holder_id_(std::move(holder_id)) {}

absl::Status SessionApi::OpenSession(const CallContext& call, const v1::OpenSessionRequest& request,
                                     v1::SessionInfo* info) {
  v1::AcquireRequest acquire;
  acquire.set_tenant(call.tenant);
  acquire.set_session_id(request.session_id().empty() ? RandomId() : request.session_id());
  acquire.set_worker_id(holder_id_);
  acquire.set_lease_ttl_ms(kOpenLeaseTtlMs);
  acquire.set_create(true);
  *acquire.mutable_encode() = request.encode();
  acquire.set_durability(request.durability());
  v1::AcquireResponse acquired;
  const absl::Status status =
      FromCache(call, cache_->Acquire(NextHop(call).get(), acquire, &acquired));
  // A worker holds it: so there is such a session.
  if (!status.ok() && ErrorReason(status) != kReasonLeaseHeld) return status;
  if (status.ok()) {
    v1::ReleaseRequest release;
    release.set_tenant(call.tenant);
    release.set_session_id(acquire.session_id());
    release.set_worker_id(holder_id_);
    release.set_epoch(acquired.epoch());
    release.set_read_lease(acquired.read_lease());
    v1::ReleaseResponse released;
    LCKV_RETURN_IF_ERROR(FromCache(call, cache_->Release(NextHop(call).get(), release, &released)));
  }
  return Stat(call, acquire.session_id(), info);
}

absl::Status SessionApi::GetSession(const CallContext& call, const v1::GetSessionRequest& request,
                                    v1::SessionInfo* info) {
  return Stat(call, request.session_id(), info);
}

absl::Status SessionApi::ListSessions(const CallContext& call,
                                      const v1::ListSessionsRequest& request,
                                      v1::ListSessionsResponse* response) {
  v1::ListRequest list;
  list.set_tenant(call.tenant);
  list.set_page_size(request.page_size() == 0 ? kDefaultPageSize : request.page_size());
  list.set_page_token(request.page_token());
  v1::ListResponse listed;
  LCKV_RETURN_IF_ERROR(FromCache(call, cache_->List(NextHop(call).get(), list, &listed)));
  for (const v1::StatResponse& stat : listed.sessions()) {
    FillInfo(call, stat, response->add_sessions());
  }
  response->set_next_page_token(listed.next_page_token());
  return absl::OkStatus();
}

absl::Status SessionApi::TouchSession(const CallContext& call,
                                      const v1::TouchSessionRequest& request,
                                      v1::SessionInfo* info) {
  v1::TouchRequest touch;
  touch.set_tenant(call.tenant);
  touch.set_session_id(request.session_id());
  touch.set_prefetch(request.prefetch());
  v1::TouchResponse touched;
  LCKV_RETURN_IF_ERROR(FromCache(call, cache_->Touch(NextHop(call).get(), touch, &touched)));
  if (request.prefetch()) Prefetch(call, request.session_id());
  return Stat(call, request.session_id(), info);
}

void SessionApi::Prefetch(const CallContext& call, const std::string& session_id) {
  const Placement placement = directory_->table().PlacementOf(call.tenant, session_id);
  absl::StatusOr<Route> route = ChooseWorker(session_id, placement);
  if (route.ok() && route->worker == placement.holder) return;  // it is hot
  absl::Status status = route.status();
  if (route.ok()) {
    const auto stub = directory_->StubOf(route->worker);
    if (stub == nullptr) return;
    v1::PrefetchRequest prefetch;
    prefetch.set_tenant(call.tenant);
    prefetch.set_session_id(session_id);
    prefetch.set_takeover(route->takeover);
    v1::PrefetchResponse response;
    status = FromGrpcStatus(stub->Prefetch(NextHop(call).get(), prefetch, &response));
  }
  if (!status.ok()) {
    LogWarning(
        "prefetch failed",
        {{"session", session_id}, {"status", status.ToString()}, {"trace", call.trace.trace_id}});
  }
}

absl::Status SessionApi::CloseSession(const CallContext& call,
                                      const v1::CloseSessionRequest& request,
                                      v1::CloseSessionResponse*) {
  const std::string holder = directory_->table().HolderOf(call.tenant, request.session_id());
  if (const auto stub = directory_->StubOf(holder); stub != nullptr) {
    v1::OffloadRequest offload;
    offload.set_tenant(call.tenant);
    offload.set_session_id(request.session_id());
    v1::OffloadResponse offloaded;
    const absl::Status status =
        FromGrpcStatus(stub->Offload(NextHop(call).get(), offload, &offloaded));
    if (ErrorReason(status) == kReasonSessionBusy) return status;
    if (!status.ok()) {
      LogWarning("offload before close failed", {{"session", request.session_id()},
                                                 {"worker", holder},
                                                 {"status", status.ToString()},
                                                 {"trace", call.trace.trace_id}});
    }
  }
  v1::DeleteRequest remove;
  remove.set_tenant(call.tenant);
  remove.set_session_id(request.session_id());
  v1::DeleteResponse removed;
  return FromCache(call, cache_->Delete(NextHop(call).get(), remove, &removed));
}

absl::Status SessionApi::Stat(const CallContext& call, const std::string& session_id,
                              v1::SessionInfo* info) {
  v1::StatRequest request;
  request.set_tenant(call.tenant);
  request.set_session_id(session_id);
  v1::StatResponse stat;
  LCKV_RETURN_IF_ERROR(FromCache(call, cache_->Stat(NextHop(call).get(), request, &stat)));
  FillInfo(call, stat, info);
  return absl::OkStatus();
}

void SessionApi::FillInfo(const CallContext& call, const v1::StatResponse& stat,
                          v1::SessionInfo* info) const {
  const v1::Manifest& manifest = stat.manifest();
  const std::string holder = directory_->table().HolderOf(call.tenant, manifest.session_id());
  info->set_session_id(manifest.session_id());
  info->set_version(manifest.version());
  info->set_transcript_tokens(stat.transcript_tokens());
  info->set_kv_tokens(manifest.kv_tokens());
  // The lease tells what workers' reports are still on their way to tell.
  const bool held = !holder.empty() || !stat.lease_holder().empty();
  info->set_state(held ? v1::SessionInfo::HOT : v1::SessionInfo::COLD);
  info->set_worker(stat.lease_holder());
  *info->mutable_encode() = manifest.encode();
  info->set_durability(manifest.durability());
  info->set_created_unix_ms(manifest.created_unix_ms());
  info->set_updated_unix_ms(manifest.updated_unix_ms());
  info->set_kv_bytes(stat.kv_bytes());
}

template <typename Request, typename Response>
absl::Status SessionApi::AskAnyWorker(const CallContext& call,
                                      grpc::Status (v1::Worker::Stub::*method)(grpc::ClientContext*,
                                                                               const Request&,
                                                                               Response*),
                                      const Request& request, Response* response) {
  std::vector<std::string> asked;
  absl::Status status;
  while (asked.size() < kMaxWorkersAsked) {
    Placement placement = directory_->table().PlacementOf(call.tenant, "");
    // A full queue of turns does not matter here.
    for (WorkerView& worker : placement.workers) worker.queue_full = false;
    const absl::StatusOr<Route> route = ChooseWorker(call.trace.trace_id, placement, asked);
    if (!route.ok()) return asked.empty() ? route.status() : status;
    const auto stub = directory_->StubOf(route->worker);
    asked.push_back(route->worker);
    if (stub == nullptr) {
      status = absl::UnavailableError("the worker is gone");
      continue;
    }
    status = AnswerOf(call, (stub.get()->*method)(NextHop(call).get(), request, response));
    if (!absl::IsUnavailable(status)) return status;
  }
  return status;
}

absl::Status SessionApi::Tokenize(const CallContext& call, const v1::TokenizeRequest& request,
                                  v1::TokenizeResponse* response) {
  return AskAnyWorker(call, &v1::Worker::Stub::Tokenize, request, response);
}

absl::Status SessionApi::Detokenize(const CallContext& call, const v1::DetokenizeRequest& request,
                                    v1::DetokenizeResponse* response) {
  return AskAnyWorker(call, &v1::Worker::Stub::Detokenize, request, response);
}

absl::Status SessionApi::ListModels(const CallContext& call, const v1::ListModelsRequest& request,
                                    v1::ListModelsResponse* response) {
  return AskAnyWorker(call, &v1::Worker::Stub::ListModels, request, response);
}

}  // namespace lckv::gateway
