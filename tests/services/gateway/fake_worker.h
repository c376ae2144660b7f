#pragma once

#include <grpcpp/grpcpp.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/check.h"
#include "base/error_info.h"
#include "base/mutex.h"
#include "lckv/v1/worker.grpc.pb.h"
#include "rpc/channel.h"
#include "rpc/status_conversion.h"

namespace lckv::gateway {

// A worker without a model, in this process on a port of its own: Generate does what the test's
// script says, Load reports what the test sets, other calls answer with the worker's id or an
// error of the test's. The default script generates every token that was asked for.
class FakeWorker final : public v1::Worker::Service {
 public:
  using Writer = grpc::ServerWriter<v1::GenerateResponse>;
  using Script =
      std::function<grpc::Status(grpc::ServerContext&, const v1::WorkerGenerateRequest&, Writer&)>;

  explicit FakeWorker(std::string id) : id_(std::move(id)) {
    report_.set_worker_id(id_);
    report_.set_state(v1::LoadReport::READY);
    script_ = [](grpc::ServerContext&, const v1::WorkerGenerateRequest& request, Writer& writer) {
      return Finish(request, writer);
    };
    Start("127.0.0.1:0");
  }
  ~FakeWorker() override { Kill(); }

  const std::string& id() const { return id_; }
  const std::string& address() const { return address_; }

  // Ends every call at once, and the port with them.
  void Kill() {
    server_->Shutdown(std::chrono::system_clock::now());
    server_->Wait();
  }
  // The same worker again at the same address.
  void Restart() { Start(address_); }

  void SetScript(Script script) {
    MutexLock lock(mu_);
    script_ = std::move(script);
  }
  void SetState(v1::LoadReport::State state) {
    Change([&](v1::LoadReport& report) { report.set_state(state); });
  }
  void AddHot(const std::string& session) {
    Change([&](v1::LoadReport& report) {
      v1::SessionKey* key = report.add_hot_sessions();
      key->set_tenant("default");
      key->set_session_id(session);
    });
  }
  // From now on says nothing in Load, without closing it.
  void FallSilent() {
    MutexLock lock(mu_);
    silent_ = true;
  }
  void SetUnaryStatus(grpc::Status status) {
    MutexLock lock(mu_);
    unary_status_ = std::move(status);
  }

  // Generate requests so far.
  std::vector<v1::WorkerGenerateRequest> requests() const {
    MutexLock lock(mu_);
    return requests_;
  }
  int reports_sent() const {
    MutexLock lock(mu_);
    return reports_sent_;
  }
  std::vector<std::string> unary_calls() const {
    MutexLock lock(mu_);
    return unary_calls_;
  }

  // For scripts. The token at a position of a turn's output depends on seed and position only, as
  // in a real worker.
  static int32_t TokenAt(uint64_t seed, int position) {
    return static_cast<int32_t>((seed + 31 * static_cast<uint64_t>(position)) % 1000);
  }
  static bool WriteFirst(const v1::WorkerGenerateRequest& request, Writer& writer) {
    v1::GenerateResponse frame;
    frame.set_session_id(request.session_id());
    frame.set_seed(request.sampling().seed());
    return writer.Write(frame);
  }
  // The tokens at [begin, end), a frame each.
  static bool WriteTokens(const v1::WorkerGenerateRequest& request, Writer& writer, int begin,
                          int end) {
    for (int i = begin; i < end; ++i) {
      v1::GenerateResponse frame;
      frame.add_token_ids(TokenAt(request.sampling().seed(), i));
      frame.set_text("x");
      if (!writer.Write(frame)) return false;
    }
    return true;
  }
  static bool WriteDone(Writer& writer) {
    v1::GenerateResponse frame;
    frame.mutable_done()->set_finish_reason(v1::LENGTH);
    frame.mutable_done()->set_version(1);
    return writer.Write(frame);
  }
  // Everything that is left of the turn.
  static grpc::Status Finish(const v1::WorkerGenerateRequest& request, Writer& writer) {
    const int max = static_cast<int>(request.sampling().max_tokens());
    const bool sent = WriteFirst(request, writer) &&
                      WriteTokens(request, writer, request.resume_from_size(), max) &&
                      WriteDone(writer);
    return sent ? grpc::Status::OK : grpc::Status::CANCELLED;
  }
  static void WaitUntilCancelled(grpc::ServerContext& context) {
    while (!context.IsCancelled()) absl::SleepFor(absl::Milliseconds(1));
  }

 private:
  grpc::Status Generate(grpc::ServerContext* context, const v1::WorkerGenerateRequest* request,
                        Writer* writer) override {
    Script script;
    {
      MutexLock lock(mu_);
      requests_.push_back(*request);
      script = script_;
    }
    return script(*context, *request, *writer);
  }

  grpc::Status Load(grpc::ServerContext* context, const v1::LoadRequest* request,
                    grpc::ServerWriter<v1::LoadReport>* writer) override {
    const absl::Duration interval = absl::Milliseconds(request->interval_ms());
    absl::Time next = absl::Now();
    int seen = -1;
    while (!context->IsCancelled()) {
      bool send = false;
      v1::LoadReport report;
      {
        MutexLock lock(mu_);
        send = !silent_ && (seen != changes_ || absl::Now() >= next);
        if (send) {
          seen = changes_;
          report = report_;
          ++reports_sent_;
        }
      }
      if (!send) {
        absl::SleepFor(absl::Milliseconds(1));
        continue;
      }
      next = absl::Now() + interval;
      report.set_full_list(true);
      if (!writer->Write(report)) break;
    }
    return grpc::Status::OK;
  }

  grpc::Status Prefetch(grpc::ServerContext*, const v1::PrefetchRequest* request,
                        v1::PrefetchResponse*) override {
    return Unary(absl::StrCat("Prefetch ", request->session_id()));
  }
  grpc::Status Offload(grpc::ServerContext*, const v1::OffloadRequest* request,
                       v1::OffloadResponse*) override {
    return Unary(absl::StrCat("Offload ", request->session_id()));
  }
  grpc::Status Tokenize(grpc::ServerContext*, const v1::TokenizeRequest* request,
                        v1::TokenizeResponse* response) override {
    response->add_ids(static_cast<int32_t>(request->text().size()));
    return Unary("Tokenize");
  }
  grpc::Status Detokenize(grpc::ServerContext*, const v1::DetokenizeRequest* request,
                          v1::DetokenizeResponse* response) override {
    response->set_text(std::string(request->ids_size(), 'x'));
    return Unary("Detokenize");
  }
  grpc::Status ListModels(grpc::ServerContext*, const v1::ListModelsRequest*,
                          v1::ListModelsResponse* response) override {
    response->add_models()->set_name(id_);
    return Unary("ListModels");
  }

  grpc::Status Unary(std::string call) {
    MutexLock lock(mu_);
    unary_calls_.push_back(std::move(call));
    return unary_status_;
  }

  void Start(const std::string& address) {
    grpc::ServerBuilder builder;
    ApplyServerSettings(builder);
    int port = 0;
    builder.AddListeningPort(address, grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
    LCKV_CHECK(server_ != nullptr && port > 0);
    address_ = absl::StrCat("127.0.0.1:", port);
  }

  void Change(const std::function<void(v1::LoadReport&)>& change) {
    MutexLock lock(mu_);
    change(report_);
    ++changes_;
  }

  const std::string id_;
  std::string address_;
  std::unique_ptr<grpc::Server> server_;
  mutable Mutex mu_;
  Script script_ ABSL_GUARDED_BY(mu_);
  v1::LoadReport report_ ABSL_GUARDED_BY(mu_);
  int changes_ ABSL_GUARDED_BY(mu_) = 0;
  bool silent_ ABSL_GUARDED_BY(mu_) = false;
  int reports_sent_ ABSL_GUARDED_BY(mu_) = 0;
  grpc::Status unary_status_ ABSL_GUARDED_BY(mu_);
  std::vector<v1::WorkerGenerateRequest> requests_ ABSL_GUARDED_BY(mu_);
  std::vector<std::string> unary_calls_ ABSL_GUARDED_BY(mu_);
};

// An error as a worker sends it.
inline grpc::Status TypedError(absl::StatusCode code, const std::string& reason,
                               std::map<std::string, std::string> metadata = {}) {
  return ToGrpcStatus(
      WithErrorInfo(absl::Status(code, "as scripted"), {reason, std::move(metadata)}));
}

// True once `condition` holds; false if it still does not after a time that no machine needs.
inline bool Eventually(const std::function<bool()>& condition) {
  for (const absl::Time end = absl::Now() + absl::Seconds(60); absl::Now() < end;) {
    if (condition()) return true;
    absl::SleepFor(absl::Milliseconds(1));
  }
  return false;
}

}  // namespace lckv::gateway
