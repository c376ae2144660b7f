#pragma once

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "engine/runtime/engine.h"
#include "engine/tokenizer/tokenizer.h"
#include "lckv/v1/worker.grpc.pb.h"
#include "services/common/executor.h"
#include "services/common/tracing/tracer.h"
#include "services/worker/drainer.h"
#include "services/worker/load_board.h"
#include "services/worker/report_ticker.h"
#include "services/worker/turn_desk.h"
#include "services/worker/worker_core.h"

namespace lckv::worker {

// The Worker service of worker.proto. Nothing here blocks a gRPC thread: turns run on the desk's
// threads, other calls on the executor's, report streams on the ticker's.
class WorkerService final : public v1::Worker::CallbackService {
 public:
  struct Parts {
    const Engine* engine = nullptr;
    const Tokenizer* tokenizer = nullptr;
    WorkerCore* core = nullptr;
    TurnDesk* desk = nullptr;
    LoadBoard* board = nullptr;
    ReportTicker* ticker = nullptr;
    Drainer* drainer = nullptr;
    Executor* executor = nullptr;  // for calls that are no turns
    const Tracer* tracer = nullptr;
  };
  // All parts outlive the service. `model`: what ListModels says.
  WorkerService(const Parts& parts, v1::ModelInfo model, std::string worker_id);

  grpc::ServerWriteReactor<v1::GenerateResponse>* Generate(
      grpc::CallbackServerContext* context, const v1::WorkerGenerateRequest* request) override;
  grpc::ServerUnaryReactor* Prefetch(grpc::CallbackServerContext* context,
                                     const v1::PrefetchRequest* request,
                                     v1::PrefetchResponse* response) override;
  grpc::ServerUnaryReactor* Offload(grpc::CallbackServerContext* context,
                                    const v1::OffloadRequest* request,
                                    v1::OffloadResponse* response) override;
  grpc::ServerWriteReactor<v1::DrainProgress>* Drain(grpc::CallbackServerContext* context,
                                                     const v1::DrainRequest* request) override;
  grpc::ServerWriteReactor<v1::LoadReport>* Load(grpc::CallbackServerContext* context,
                                                 const v1::LoadRequest* request) override;
  grpc::ServerUnaryReactor* Tokenize(grpc::CallbackServerContext* context,
                                     const v1::TokenizeRequest* request,
                                     v1::TokenizeResponse* response) override;
  grpc::ServerUnaryReactor* Detokenize(grpc::CallbackServerContext* context,
                                       const v1::DetokenizeRequest* request,
                                       v1::DetokenizeResponse* response) override;
  grpc::ServerUnaryReactor* ListModels(grpc::CallbackServerContext* context,
                                       const v1::ListModelsRequest* request,
                                       v1::ListModelsResponse* response) override;

 private:
  class LoadCall;
  class DrainCall;

  // Finishes the call with what `work` returns, computed on the executor.
  grpc::ServerUnaryReactor* RunUnary(absl::string_view method, grpc::CallbackServerContext* context,
                                     std::function<absl::Status(const TracePosition& trace)> work);
  void FillLoad(LoadBoard::Cursor* cursor, v1::LoadReport* report) const;

  const Parts parts_;
  const v1::ModelInfo model_;
  const std::string worker_id_;
};

// What ListModels says of an engine's model. `full_map_bytes_per_token`: with f(i) = i.
v1::ModelInfo DescribeModel(const Engine& engine, bool has_chat_template,
                            uint64_t full_map_bytes_per_token);

}  // namespace lckv::worker
