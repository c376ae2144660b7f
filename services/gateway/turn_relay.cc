#include "services/gateway/turn_relay.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "rpc/status_conversion.h"

namespace lckv::gateway {
namespace {

// The frame being sent: the next is read from the worker only afterwards.
constexpr size_t kWriterCapacity = 1;

}  // namespace

TurnRelay::TurnRelay(const RelayContext& context, absl::string_view method, Admission::Slot slot,
                     Span turn, absl::Time deadline, v1::WorkerGenerateRequest request)
    : StreamWriter(kWriterCapacity),
      context_(context),
      method_(method),
      start_(context.clock->Now()),
      deadline_(deadline),
      max_tokens_(request.sampling().max_tokens()),
      turn_(std::move(turn)),
      slot_(std::move(slot)),
      request_(std::move(request)) {
  context_.metrics->waiting_turns.Increment();
}

TurnRelay::~TurnRelay() = default;

void TurnRelay::Start() { RouteAndCall(); }

void TurnRelay::RouteAndCall() {
  if (cancelled()) {
    Conclude(grpc::Status(grpc::StatusCode::CANCELLED, "cancelled by the client"));
    return;
  }
  Span span = turn_.position().StartSpan("route");
  const absl::StatusOr<Route> route = ChooseRoute(span);
  span.SetStatus(route.status());
  span.End();
  if (route.ok()) {
    Call(*route);
  } else {
    worker_status_ = ToGrpcStatus(route.status());
    attempt_.status = route.status();
    Follow(AfterNoRoute(route.status(), history_, context_.limits, context_.clock->Now()));
  }
}

absl::StatusOr<Route> TurnRelay::ChooseRoute(Span& span) {
  if (!next_.worker.empty()) {
    span.Set("lckv.worker.id", next_.worker);
    span.Set("lckv.route.reason", "directed");
    return Route{next_.worker, next_.takeover};
  }
  const Placement placement =
      context_.directory->table().PlacementOf(request_.tenant(), request_.session_id());
  std::vector<std::string> excluded;
  if (!next_.avoid.empty()) excluded.push_back(next_.avoid);
  absl::StatusOr<Route> route = ChooseWorker(request_.session_id(), placement, excluded);
  // Better the same worker again than none.
  if (!route.ok() && !excluded.empty()) route = ChooseWorker(request_.session_id(), placement);
  if (!route.ok()) return route;
  route->takeover |= next_.takeover;
  span.Set("lckv.worker.id", route->worker);
  span.Set("lckv.route.reason", route->worker == placement.holder ? "holder" : "fewest_turns");
  return route;
}

void TurnRelay::Call(const Route& route) {
  std::shared_ptr<v1::Worker::Stub> stub = context_.directory->StubOf(route.worker);
  attempt_ = AttemptEnd();
  attempt_.worker = route.worker;
  if (stub == nullptr) {
    // Known a moment ago, and now another worker lives at its address.
    OnEnd(grpc::Status(grpc::StatusCode::UNAVAILABLE, "the worker is gone"));
    return;
  }
  context_.directory->table().NoteAssigned(route.worker);
  StartCallSpan(route);
  request_.set_takeover(route.takeover);
  std::shared_ptr<WorkerStream> stream = WorkerStream::Make(
      std::move(stub), route.worker, static_cast<WorkerStream::Listener*>(this), context_.clock);
  {
    MutexLock lock(mu_);
    stream_ = stream;
  }
  // A cancel before this point found no stream, or the one before.
  if (cancelled()) stream->Cancel();
  context_.stalls->Watch(stream);
  WorkerStream& call = *stream;
  call.Start(std::move(stream), request_, call_.context(), deadline_);
}

void TurnRelay::StartCallSpan(const Route& route) {
  call_ =
      turn_.position().StartCall(SpanKind::kClient, v1::Worker::service_full_name(), "Generate");
  call_.Set("lckv.worker.id", route.worker);
  call_.Set("lckv.takeover", route.takeover);
  call_.Set("lckv.continuation", history_.continuations);
  call_.Set("lckv.resumed_tokens", request_.resume_from_size());
}

void TurnRelay::OnFrame(v1::GenerateResponse& frame) {
  std::shared_ptr<WorkerStream> stream;
  {
    MutexLock lock(mu_);
    stream = stream_;
  }
  const int64_t tokens = int64_t{request_.resume_from_size()} + frame.token_ids_size();
  if (tokens > max_tokens_ && !attempt_.done) {
    refused_ = grpc::Status(
        grpc::StatusCode::INTERNAL,
        absl::StrCat("worker ", attempt_.worker, " sent more tokens than were asked for"));
  }
  // Nothing may follow the final frame.
  if (refused_.has_value() || attempt_.done) {
    stream->Cancel();
    stream->Next();
    return;
  }
  if (!AdaptFrame(frame)) {
    stream->Next();
    return;
  }
  Observe(frame);
  if (TryWrite(std::move(frame)) != WriteResult::kAccepted) {
    // The client is gone. The stream's end concludes the turn.
    stream->Cancel();
    stream->Next();
  }
}

bool TurnRelay::AdaptFrame(v1::GenerateResponse& frame) {
  const bool first = !first_frame_sent_;
  first_frame_sent_ = true;
  attempt_.begun = true;
  // Workers begin every stream with these two; the client gets them once, as they were asked for.
  frame.set_session_id(first ? request_.session_id() : std::string());
  frame.set_seed(first ? request_.sampling().seed() : 0);
  if (frame.has_done()) {
    attempt_.done = true;
    DescribeDone(frame.done());
    frame.mutable_done()->set_continuations(history_.continuations);
  }
  return first || frame.has_done() || frame.token_ids_size() > 0 || !frame.text().empty();
}

void TurnRelay::DescribeDone(const v1::TurnResult& done) {
  if (!turn_.recording()) return;
  turn_.Set("gen_ai.usage.input_tokens", done.usage().input_tokens());
  turn_.Set(
      "gen_ai.response.finish_reasons",
      std::vector<std::string>{absl::AsciiStrToLower(v1::FinishReason_Name(done.finish_reason()))});
}

void TurnRelay::Observe(const v1::GenerateResponse& frame) {
  const int tokens = frame.token_ids_size();
  if (tokens == 0) return;
  GatewayMetrics& metrics = *context_.metrics;
  const absl::Time now = context_.clock->Now();
  if (request_.resume_from().empty()) {
    metrics.time_to_first_token.Observe(absl::ToDoubleSeconds(now - start_));
    turn_.Set("lckv.time_to_first_token", absl::ToDoubleSeconds(now - start_));
    metrics.waiting_turns.Decrement();
    metrics.running_turns.Increment();
  } else {
    const double gap = absl::ToDoubleSeconds(now - last_token_) / tokens;
    for (int i = 0; i < tokens; ++i) metrics.inter_token_latency.Observe(gap);
  }
  last_token_ = now;
  metrics.generated_tokens.Increment(tokens);
  request_.mutable_resume_from()->MergeFrom(frame.token_ids());
  // The break, if there was one, is repaired.
  history_.broken_since = absl::InfiniteFuture();
}

void TurnRelay::OnWritten() {
  std::shared_ptr<WorkerStream> stream;
  {
    MutexLock lock(mu_);
    stream = stream_;
  }
  if (cancelled()) stream->Cancel();
  stream->Next();
}

void TurnRelay::OnEnd(const grpc::Status& status) {
  {
    MutexLock lock(mu_);
    if (stream_ != nullptr) attempt_.stalled = stream_->stalled();
    stream_ = nullptr;
  }
  if (call_.recording()) {
    call_.Set("lckv.stalled", attempt_.stalled);
    call_.SetStatus(FromGrpcStatus(status));
    call_.End();
  }
  if (refused_.has_value()) {
    Conclude(*refused_);
    return;
  }
  if (cancelled() && !attempt_.done) {
    Conclude(grpc::Status(grpc::StatusCode::CANCELLED, "cancelled by the client"));
    return;
  }
  worker_status_ = status;
  attempt_.status = FromGrpcStatus(status);
  Follow(AfterAttempt(
      attempt_, history_, context_.limits, context_.clock->Now(),
      [this](absl::string_view worker) { return context_.directory->table().StateOf(worker); }));
}

void TurnRelay::Follow(const RelayDecision& decision) {
  if (decision.action == RelayDecision::Action::kEnd) {
    // A worker's own status passes through byte by byte, details of other domains included.
    Conclude(decision.status == attempt_.status ? worker_status_ : ToGrpcStatus(decision.status));
    return;
  }
  next_ = decision;
  if (decision.continuation) {
    ++history_.continuations;
    history_.broken_since = std::min(history_.broken_since, context_.clock->Now());
    context_.metrics->continuations.Increment();
    LogWarning("stream broke, continuing", {{"session", request_.session_id()},
                                            {"worker", attempt_.worker},
                                            {"tokens", request_.resume_from_size()},
                                            {"stalled", attempt_.stalled},
                                            {"status", std::string(attempt_.status.message())},
                                            {"trace", turn_.context().trace_id}});
  } else if (!decision.wait) {
    ++history_.reroutes;
  }
  WaitThenRoute(decision.delay);
}

void TurnRelay::WaitThenRoute(absl::Duration delay) {
  if (delay <= absl::ZeroDuration()) {
    RouteAndCall();
    return;
  }
  const absl::Time wake = std::min(context_.clock->Now() + delay, deadline_);
  MutexLock lock(mu_);
  alarm_.emplace();
  alarm_->Set(absl::ToChronoTime(wake), [this](bool) { RouteAndCall(); });
  // OnCancelled may have run just before there was an alarm.
  if (cancelled()) alarm_->Cancel();
}

void TurnRelay::Conclude(const grpc::Status& status) {
  GatewayMetrics& metrics = *context_.metrics;
  (request_.resume_from().empty() ? metrics.waiting_turns : metrics.running_turns).Decrement();
  const absl::Duration took = context_.clock->Now() - start_;
  metrics.turn_duration.Observe(absl::ToDoubleSeconds(took));
  metrics.CountRequest(method_, static_cast<absl::StatusCode>(status.error_code()));
  LogInfo("turn",
          {{"session", request_.session_id()},
           {"worker", attempt_.worker},
           {"code", absl::StatusCodeToString(static_cast<absl::StatusCode>(status.error_code()))},
           {"tokens", request_.resume_from_size()},
           {"continuations", history_.continuations},
           {"seconds", absl::ToDoubleSeconds(took)},
           {"trace", turn_.context().trace_id}});
  EndTurnSpan(status);
  End(status);
}

void TurnRelay::EndTurnSpan(const grpc::Status& status) {
  if (!turn_.recording()) return;
  turn_.Set("gen_ai.usage.output_tokens", request_.resume_from_size());
  turn_.Set("lckv.continuations", history_.continuations);
  turn_.Set("lckv.reroutes", history_.reroutes);
  turn_.SetStatus(FromGrpcStatus(status));
  turn_.End();
}

void TurnRelay::OnCancelled() {
  std::shared_ptr<WorkerStream> stream;
  {
    MutexLock lock(mu_);
    stream = stream_;
    if (alarm_.has_value()) alarm_->Cancel();
  }
  if (stream != nullptr) stream->Cancel();
}

void TurnRelay::OnDone() { delete this; }

}  // namespace lckv::gateway
