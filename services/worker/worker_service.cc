#include "services/worker/worker_service.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/error_info.h"
#include "base/status_macros.h"
#include "cache/image/manifest.h"
#include "rpc/outgoing_trace.h"
#include "rpc/status_conversion.h"
#include "services/common/stream_writer.h"
#include "services/worker/generate_call.h"

namespace lckv::worker {
namespace {

constexpr absl::Duration kDefaultInterval = absl::Milliseconds(250);
constexpr absl::Duration kMinInterval = absl::Milliseconds(20);
constexpr absl::Duration kMaxInterval = absl::Minutes(1);
constexpr absl::Duration kRetryAfter = absl::Seconds(1);
// A report that is still on its way, and one that waits: more are not worth queueing.
constexpr size_t kReportCapacity = 2;

absl::Time DeadlineOf(const grpc::CallbackServerContext& context) {
  return absl::FromChrono(context.deadline());
}

absl::Status QueueFull(absl::string_view what) {
  return WithRetryAfter(WithErrorInfo(absl::ResourceExhaustedError(what), {kReasonQueueFull, {}}),
                        kRetryAfter);
}

absl::Duration IntervalOf(const v1::LoadRequest& request) {
  if (request.interval_ms() == 0) return kDefaultInterval;
  return std::clamp(absl::Milliseconds(request.interval_ms()), kMinInterval, kMaxInterval);
}

}  // namespace

// A Load stream: a report at once, at each interval and when the state changes.
class WorkerService::LoadCall final : public StreamWriter<v1::LoadReport>, public TickedStream {
 public:
  LoadCall(const WorkerService* service, absl::Duration interval)
      : StreamWriter(kReportCapacity), service_(service), interval_(interval) {}

  bool OnTick(absl::Time now, bool last) override {
    if (cancelled() || last) {
      End(grpc::Status::OK);
      return false;
    }
    const v1::LoadReport::State state = service_->parts_.board->state();
    if (now < due_ && state == state_) return true;
    LoadBoard::Cursor cursor = cursor_;
    v1::LoadReport report;
    service_->FillLoad(&cursor, &report);
    if (TryWrite(std::move(report)) == WriteResult::kAccepted) {
      cursor_ = cursor;
      state_ = state;
      due_ = now + interval_;
    }
    return true;
  }

 private:
  void OnDone() override { delete this; }

  const WorkerService* const service_;
  const absl::Duration interval_;
  LoadBoard::Cursor cursor_;
  v1::LoadReport::State state_ = v1::LoadReport::STARTING;
  absl::Time due_ = absl::InfinitePast();
};

// A Drain stream: progress until the drain is done.
class WorkerService::DrainCall final : public StreamWriter<v1::DrainProgress>, public TickedStream {
 public:
  explicit DrainCall(const Drainer* drainer) : StreamWriter(kReportCapacity), drainer_(drainer) {}

  bool OnTick(absl::Time now, bool last) override {
    if (cancelled()) {
      End(grpc::Status::OK);
      return false;
    }
    const Drainer::Progress progress = drainer_->progress();
    if (now < due_ && !progress.done && !last) return true;
    v1::DrainProgress message;
    message.set_running_turns(static_cast<uint32_t>(progress.running_turns));
    message.set_sessions_left(static_cast<uint32_t>(progress.sessions_left));
    message.set_done(progress.done);
    const bool written = TryWrite(std::move(message)) == WriteResult::kAccepted;
    if (written) due_ = now + kDefaultInterval;
    if (last || (written && progress.done)) {
      End(grpc::Status::OK);
      return false;
    }
    return true;
  }

 private:
  void OnDone() override { delete this; }

  const Drainer* const drainer_;
  absl::Time due_ = absl::InfinitePast();
};

WorkerService::WorkerService(const Parts& parts, v1::ModelInfo model, std::string worker_id)
    : parts_(parts), model_(std::move(model)), worker_id_(std::move(worker_id)) {}

grpc::ServerWriteReactor<v1::GenerateResponse>* WorkerService::Generate(
    grpc::CallbackServerContext* context, const v1::WorkerGenerateRequest* request) {
  auto* call = new GenerateCall();
  TurnArrival arrival;
  arrival.received = absl::Now();
  arrival.deadline = DeadlineOf(*context);
  arrival.trace = parts_.tracer->Enter(*context);
  // The request lives until the call has ended.
  const absl::Status taken = parts_.desk->Submit(call->control(), [this, call, request, arrival] {
    call->End(ToGrpcStatus(parts_.core->runner.Run(*request, arrival, *call->control(), *call)));
  });
  if (!taken.ok()) {
    arrival.trace
        .StartCall(SpanKind::kServer, v1::Worker::service_full_name(), "Generate", arrival.received)
        .SetStatus(taken);
    call->End(ToGrpcStatus(taken));
  }
  return call;
}

grpc::ServerUnaryReactor* WorkerService::RunUnary(
    absl::string_view method, grpc::CallbackServerContext* context,
    std::function<absl::Status(const TracePosition& trace)> work) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const auto span = std::make_shared<Span>(parts_.tracer->Continue(*context).StartCall(
      SpanKind::kServer, v1::Worker::service_full_name(), method));
  const bool taken = parts_.executor->TrySubmit([reactor, span, work = std::move(work)] {
    const absl::Status status = work(span->position());
    span->SetStatus(status);
    span->End();
    reactor->Finish(ToGrpcStatus(status));
  });
  if (!taken) {
    const absl::Status full = QueueFull("too many calls wait");
    span->SetStatus(full);
    reactor->Finish(ToGrpcStatus(full));
  }
  return reactor;
}

grpc::ServerUnaryReactor* WorkerService::Prefetch(grpc::CallbackServerContext* context,
                                                  const v1::PrefetchRequest* request,
                                                  v1::PrefetchResponse* response) {
  return RunUnary(
      "Prefetch", context,
      [this, request, response, deadline = DeadlineOf(*context)](const TracePosition& trace) {
        LCKV_RETURN_IF_ERROR(ValidateSessionName(request->tenant(), request->session_id()));
        if (parts_.board->state() == v1::LoadReport::DRAINING) {
          return WithErrorInfo(absl::UnavailableError("the worker is draining"),
                               {kReasonDraining, {}});
        }
        LCKV_ASSIGN_OR_RETURN(*response, parts_.core->runner.Prefetch(*request, deadline, trace));
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* WorkerService::Offload(grpc::CallbackServerContext* context,
                                                 const v1::OffloadRequest* request,
                                                 v1::OffloadResponse* /*response*/) {
  return RunUnary(
      "Offload", context,
      [this, request, deadline = DeadlineOf(*context)](const TracePosition& trace) {
        const OutgoingTrace outgoing(FormatTraceparent(trace.context()));
        LCKV_RETURN_IF_ERROR(ValidateSessionName(request->tenant(), request->session_id()));
        return parts_.core->evictor.Offload({request->tenant(), request->session_id()}, "offload",
                                            deadline);
      });
}

grpc::ServerWriteReactor<v1::DrainProgress>* WorkerService::Drain(
    grpc::CallbackServerContext* /*context*/, const v1::DrainRequest* /*request*/) {
  auto* call = new DrainCall(parts_.drainer);
  parts_.drainer->Start();
  if (!parts_.ticker->Add(call)) call->End(ToGrpcStatus(QueueFull("too many report streams")));
  return call;
}

grpc::ServerWriteReactor<v1::LoadReport>* WorkerService::Load(
    grpc::CallbackServerContext* /*context*/, const v1::LoadRequest* request) {
  auto* call = new LoadCall(this, IntervalOf(*request));
  if (!parts_.ticker->Add(call)) call->End(ToGrpcStatus(QueueFull("too many report streams")));
  return call;
}

void WorkerService::FillLoad(LoadBoard::Cursor* cursor, v1::LoadReport* report) const {
  parts_.board->Fill(cursor, report);
  const EngineLoad load = parts_.engine->load();
  report->set_worker_id(worker_id_);
  report->set_running_turns(static_cast<uint32_t>(parts_.desk->running()));
  report->set_waiting_turns(static_cast<uint32_t>(parts_.desk->waiting()));
  report->set_max_waiting_turns(static_cast<uint32_t>(parts_.desk->max_waiting()));
  report->set_kv_pages_used(static_cast<uint64_t>(load.pages_used));
  report->set_kv_pages_capacity(static_cast<uint64_t>(load.pages_capacity));
  report->set_fingerprint(parts_.core->sync.model().fingerprint);
  report->set_numerics_class(parts_.core->sync.model().numerics_class);
}

grpc::ServerUnaryReactor* WorkerService::Tokenize(grpc::CallbackServerContext* context,
                                                  const v1::TokenizeRequest* request,
                                                  v1::TokenizeResponse* response) {
  return RunUnary("Tokenize", context, [this, request, response](const TracePosition& /*trace*/) {
    Tokenizer::EncodeOptions options;
    options.add_special = request->add_special();
    options.parse_special = request->parse_special();
    LCKV_ASSIGN_OR_RETURN(const std::vector<int32_t> ids,
                          parts_.tokenizer->Encode(request->text(), options));
    response->mutable_ids()->Assign(ids.begin(), ids.end());
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* WorkerService::Detokenize(grpc::CallbackServerContext* context,
                                                    const v1::DetokenizeRequest* request,
                                                    v1::DetokenizeResponse* response) {
  return RunUnary("Detokenize", context, [this, request, response](const TracePosition& /*trace*/) {
    LCKV_ASSIGN_OR_RETURN(*response->mutable_text(),
                          parts_.tokenizer->Decode(request->ids(), request->skip_special()));
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* WorkerService::ListModels(grpc::CallbackServerContext* context,
                                                    const v1::ListModelsRequest* /*request*/,
                                                    v1::ListModelsResponse* response) {
  *response->add_models() = model_;
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

v1::ModelInfo DescribeModel(const Engine& engine, bool has_chat_template,
                            uint64_t full_map_bytes_per_token) {
  const ModelConfig& config = engine.config();
  v1::ModelInfo model;
  model.set_name(config.name);
  model.set_architecture(config.architecture);
  model.set_layer_map(config.layer_map.ToString());
  model.set_fingerprint(engine.fingerprint().data(), engine.fingerprint().size());
  model.set_max_context(static_cast<uint32_t>(engine.max_context()));
  model.set_vocab_size(static_cast<uint32_t>(config.vocab_size));
  model.set_kv_bytes_per_token(static_cast<uint64_t>(engine.page_layout().bytes_per_token()));
  model.set_kv_bytes_per_token_full_map(full_map_bytes_per_token);
  model.set_has_chat_template(has_chat_template);
  model.set_passes(static_cast<uint32_t>(engine.passes(EncodePolicy())));
  return model;
}

}  // namespace lckv::worker
