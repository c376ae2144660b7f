// Calls that are not turns, through a whole gateway with fake workers and a fake cache node.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <map>

#include "lckv/v1/cache.grpc.pb.h"
#include "tests/services/gateway/gateway_fixture.h"

namespace lckv::gateway {
namespace {

using lckv::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

// Keeps session records in a map, and leases by the worker that a test names.
class FakeCacheNode final : public v1::Cache::Service {
 public:
  FakeCacheNode() {
    grpc::ServerBuilder builder;
    ApplyServerSettings(builder);
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
    address_ = absl::StrCat("127.0.0.1:", port);
  }
  ~FakeCacheNode() override { Kill(); }
  void Kill() {
    server_->Shutdown(std::chrono::system_clock::now());
    server_->Wait();
  }

  const std::string& address() const { return address_; }
  void SetHolder(const std::string& session, const std::string& worker) {
    MutexLock lock(mu_);
    sessions_[session].set_lease_holder(worker);
  }
  // Stat("hang") answers only when it is cancelled, Stat("stopping") as a node that stops.
  std::promise<void> hanging;
  std::promise<void> cancelled;
  std::vector<std::string> calls() const {
    MutexLock lock(mu_);
    return calls_;
  }

 private:
  grpc::Status Acquire(grpc::ServerContext*, const v1::AcquireRequest* request,
                       v1::AcquireResponse* response) override {
    MutexLock lock(mu_);
    calls_.push_back("Acquire");
    EXPECT_EQ(request->tenant(), "default");
    v1::StatResponse& session = sessions_[request->session_id()];
    if (!session.lease_holder().empty()) {
      return TypedError(absl::StatusCode::kAborted, kReasonLeaseHeld,
                        {{"holder", session.lease_holder()}});
    }
    session.set_lease_holder(request->worker_id());
    v1::Manifest& manifest = *session.mutable_manifest();
    manifest.set_session_id(request->session_id());
    *manifest.mutable_encode() = request->encode();
    manifest.set_durability(request->durability());
    response->set_epoch(1);
    return grpc::Status::OK;
  }
  grpc::Status Release(grpc::ServerContext*, const v1::ReleaseRequest* request,
                       v1::ReleaseResponse*) override {
    MutexLock lock(mu_);
    calls_.push_back("Release");
    EXPECT_EQ(request->epoch(), 1u);
    v1::StatResponse& session = sessions_[request->session_id()];
    EXPECT_EQ(session.lease_holder(), request->worker_id());
    session.clear_lease_holder();
    return grpc::Status::OK;
  }
  grpc::Status Touch(grpc::ServerContext*, const v1::TouchRequest* request,
                     v1::TouchResponse*) override {
    MutexLock lock(mu_);
    calls_.push_back(request->prefetch() ? "Touch prefetch" : "Touch");
    return Find(request->session_id()).first;
  }
  grpc::Status Delete(grpc::ServerContext*, const v1::DeleteRequest* request,
                      v1::DeleteResponse*) override {
    MutexLock lock(mu_);
    calls_.push_back("Delete");
    return sessions_.erase(request->session_id()) == 1 ? grpc::Status::OK : NotFound();
  }
  grpc::Status Stat(grpc::ServerContext* context, const v1::StatRequest* request,
                    v1::StatResponse* response) override {
    if (request->session_id() == "hang") {
      hanging.set_value();
      FakeWorker::WaitUntilCancelled(*context);
      cancelled.set_value();
      return grpc::Status::CANCELLED;
    }
    if (request->session_id() == "stopping") return grpc::Status::CANCELLED;
    MutexLock lock(mu_);
    auto [status, session] = Find(request->session_id());
    if (status.ok()) *response = *session;
    return status;
  }
  grpc::Status List(grpc::ServerContext*, const v1::ListRequest* request,
                    v1::ListResponse* response) override {
    MutexLock lock(mu_);
    calls_.push_back(absl::StrCat("List ", request->page_size(), " ", request->page_token()));
    for (const auto& [id, session] : sessions_) *response->add_sessions() = session;
    response->set_next_page_token("next");
    return grpc::Status::OK;
  }

  static grpc::Status NotFound() {
    return grpc::Status(grpc::StatusCode::NOT_FOUND, "no such session");
  }
  std::pair<grpc::Status, v1::StatResponse*> Find(const std::string& session)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    const auto found = sessions_.find(session);
    if (found == sessions_.end()) return {NotFound(), nullptr};
    return {grpc::Status::OK, &found->second};
  }

  std::string address_;
  std::unique_ptr<grpc::Server> server_;
  mutable Mutex mu_;
  std::map<std::string, v1::StatResponse> sessions_ ABSL_GUARDED_BY(mu_);
  std::vector<std::string> calls_ ABSL_GUARDED_BY(mu_);
};

class SessionApiTest : public GatewayFixture {
 protected:
  SessionApiTest() {
    options_.cache_node = cache_.address();
    a_ = &AddWorker("a");
    b_ = &AddWorker("b");
  }
  ~SessionApiTest() override { gateway_.reset(); }

  // `method` of the gateway, called like a client does.
  template <typename Request, typename Response>
  absl::Status Call(grpc::Status (v1::Inference::Stub::*method)(grpc::ClientContext*,
                                                                const Request&, Response*),
                    const Request& request, Response* response) {
    grpc::ClientContext context;
    return FromGrpcStatus((stub_.get()->*method)(&context, request, response));
  }
  absl::Status Open(const std::string& session, v1::SessionInfo* info) {
    v1::OpenSessionRequest request;
    request.set_session_id(session);
    request.mutable_encode()->set_passes(12);
    request.set_durability(v1::MEMORY);
    return Call(&v1::Inference::Stub::OpenSession, request, info);
  }
  absl::Status Get(const std::string& session, v1::SessionInfo* info) {
    v1::GetSessionRequest request;
    request.set_session_id(session);
    return Call(&v1::Inference::Stub::GetSession, request, info);
  }
  absl::Status Touch(const std::string& session, bool prefetch, v1::SessionInfo* info) {
    v1::TouchSessionRequest request;
    request.set_session_id(session);
    request.set_prefetch(prefetch);
    return Call(&v1::Inference::Stub::TouchSession, request, info);
  }
  absl::Status Close(const std::string& session) {
    v1::CloseSessionRequest request;
    request.set_session_id(session);
    v1::CloseSessionResponse response;
    return Call(&v1::Inference::Stub::CloseSession, request, &response);
  }

  FakeCacheNode cache_;
  FakeWorker* a_ = nullptr;
  FakeWorker* b_ = nullptr;
};

TEST_F(SessionApiTest, OpensAndGivesTheLeaseBack) {
  StartGateway();
  v1::SessionInfo info;
  ASSERT_OK(Open("s", &info));
  EXPECT_EQ(info.session_id(), "s");
  EXPECT_EQ(info.state(), v1::SessionInfo::COLD);
  EXPECT_EQ(info.worker(), "");
  EXPECT_EQ(info.encode().passes(), 12u);
  EXPECT_EQ(info.durability(), v1::MEMORY);
  EXPECT_THAT(cache_.calls(), ElementsAre("Acquire", "Release"));
  ASSERT_OK(Open("", &info));
  EXPECT_EQ(info.session_id().size(), 32u);
}

TEST_F(SessionApiTest, OpeningASessionThatAWorkerHoldsIsNoError) {
  StartGateway();
  v1::SessionInfo info;
  ASSERT_OK(Open("s", &info));
  cache_.SetHolder("s", "a");
  ASSERT_OK(Open("s", &info));
  EXPECT_EQ(info.worker(), "a");
}

TEST_F(SessionApiTest, TellsHotFromCold) {
  a_->AddHot("hot");
  StartGateway();
  v1::SessionInfo info;
  ASSERT_OK(Open("hot", &info));
  ASSERT_OK(Open("cold", &info));
  ASSERT_OK(Get("hot", &info));
  EXPECT_EQ(info.state(), v1::SessionInfo::HOT);
  ASSERT_OK(Get("cold", &info));
  EXPECT_EQ(info.state(), v1::SessionInfo::COLD);
  EXPECT_THAT(Get("none", &info), StatusIs(absl::StatusCode::kNotFound));

  v1::ListSessionsRequest request;
  v1::ListSessionsResponse list;
  ASSERT_OK(Call(&v1::Inference::Stub::ListSessions, request, &list));
  ASSERT_EQ(list.sessions_size(), 2);
  EXPECT_EQ(list.sessions(0).session_id(), "cold");
  EXPECT_EQ(list.sessions(1).state(), v1::SessionInfo::HOT);
  EXPECT_EQ(list.next_page_token(), "next");
  request.set_page_size(7);
  request.set_page_token("next");
  ASSERT_OK(Call(&v1::Inference::Stub::ListSessions, request, &list));
  EXPECT_THAT(cache_.calls(), ::testing::IsSupersetOf({"List 100 ", "List 7 next"}));
}

TEST_F(SessionApiTest, TouchPrefetchesAColdSessionOnly) {
  a_->AddHot("hot");
  StartGateway();
  v1::SessionInfo info;
  ASSERT_OK(Open("hot", &info));
  ASSERT_OK(Open("cold", &info));
  ASSERT_OK(Touch("cold", false, &info));
  ASSERT_OK(Touch("hot", true, &info));
  EXPECT_THAT(a_->unary_calls(), IsEmpty());
  EXPECT_THAT(b_->unary_calls(), IsEmpty());
  ASSERT_OK(Touch("cold", true, &info));
  std::vector<std::string> calls = a_->unary_calls();
  for (const std::string& call : b_->unary_calls()) calls.push_back(call);
  EXPECT_THAT(calls, ElementsAre("Prefetch cold"));
  EXPECT_THAT(Touch("none", true, &info), StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(SessionApiTest, AFailedPrefetchIsNoError) {
  StartGateway();
  v1::SessionInfo info;
  ASSERT_OK(Open("s", &info));
  for (FakeWorker* worker : {a_, b_}) {
    worker->SetUnaryStatus(TypedError(absl::StatusCode::kResourceExhausted, kReasonPoolFull));
  }
  EXPECT_OK(Touch("s", true, &info));
}

TEST_F(SessionApiTest, CloseOffloadsAndDeletes) {
  a_->AddHot("hot");
  StartGateway();
  v1::SessionInfo info;
  ASSERT_OK(Open("hot", &info));
  ASSERT_OK(Open("cold", &info));
  ASSERT_OK(Close("hot"));
  EXPECT_THAT(a_->unary_calls(), ElementsAre("Offload hot"));
  ASSERT_OK(Close("cold"));
  EXPECT_THAT(Get("hot", &info), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(Close("hot"), StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(SessionApiTest, ABusySessionIsNotClosed) {
  a_->AddHot("hot");
  StartGateway();
  v1::SessionInfo info;
  ASSERT_OK(Open("hot", &info));
  a_->SetUnaryStatus(TypedError(absl::StatusCode::kAborted, kReasonSessionBusy));
  const absl::Status status = Close("hot");
  EXPECT_EQ(ErrorReason(status), kReasonSessionBusy);
  EXPECT_OK(Get("hot", &info));
  a_->SetUnaryStatus(grpc::Status(grpc::StatusCode::INTERNAL, "x"));
  EXPECT_OK(Close("hot"));
}

TEST_F(SessionApiTest, SaysWhenTheCacheNodeIsAway) {
  StartGateway();
  cache_.Kill();
  v1::SessionInfo info;
  const absl::Status status = Get("s", &info);
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_EQ(ErrorReason(status), kReasonCacheUnavailable);
  EXPECT_TRUE(GetRetryAfter(status).has_value());
}

// A server that stops ends its calls with CANCELLED, which the client has not asked for.
TEST_F(SessionApiTest, SaysWhenTheCacheNodeEndsACall) {
  StartGateway();
  v1::SessionInfo info;
  const absl::Status status = Get("stopping", &info);
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_EQ(ErrorReason(status), kReasonCacheUnavailable);
}

TEST_F(SessionApiTest, AClientsCancelReachesTheCacheNode) {
  StartGateway();
  v1::GetSessionRequest request;
  request.set_session_id("hang");
  grpc::ClientContext context;
  auto call = std::async(std::launch::async, [&] {
    v1::SessionInfo info;
    return stub_->GetSession(&context, request, &info);
  });
  cache_.hanging.get_future().wait();
  context.TryCancel();
  cache_.cancelled.get_future().wait();
  EXPECT_EQ(call.get().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(SessionApiTest, TokenizersAndModelsComeFromAnyReadyWorker) {
  b_->SetState(v1::LoadReport::DRAINING);
  StartGateway();
  v1::TokenizeRequest tokenize;
  tokenize.set_text("four");
  v1::TokenizeResponse ids;
  ASSERT_OK(Call(&v1::Inference::Stub::Tokenize, tokenize, &ids));
  EXPECT_EQ(ids.ids(0), 4);
  v1::DetokenizeRequest detokenize;
  detokenize.add_ids(1);
  v1::DetokenizeResponse text;
  ASSERT_OK(Call(&v1::Inference::Stub::Detokenize, detokenize, &text));
  EXPECT_EQ(text.text(), "x");
  v1::ListModelsResponse models;
  ASSERT_OK(Call(&v1::Inference::Stub::ListModels, v1::ListModelsRequest(), &models));
  EXPECT_EQ(models.models(0).name(), "a");
}

TEST_F(SessionApiTest, AsksAnotherWorkerWhenOneDoesNotAnswer) {
  StartGateway();
  for (const auto code : {grpc::StatusCode::UNAVAILABLE, grpc::StatusCode::CANCELLED}) {
    a_->SetUnaryStatus(grpc::Status(code, "reset"));
    for (int i = 0; i < 8; ++i) {
      v1::ListModelsResponse models;
      ASSERT_OK(Call(&v1::Inference::Stub::ListModels, v1::ListModelsRequest(), &models));
      EXPECT_EQ(models.models(0).name(), "b");
    }
  }
  b_->SetUnaryStatus(TypedError(absl::StatusCode::kInvalidArgument, "X"));
  a_->SetUnaryStatus(TypedError(absl::StatusCode::kInvalidArgument, "X"));
  v1::ListModelsResponse models;
  EXPECT_THAT(Call(&v1::Inference::Stub::ListModels, v1::ListModelsRequest(), &models),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

}  // namespace
}  // namespace lckv::gateway
