#include "services/worker/turn.h"

#include <algorithm>
#include <string>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/check.h"
#include "base/error_info.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "rpc/outgoing_trace.h"
#include "services/worker/manifest.h"
#include "services/worker/turn_spans.h"

namespace lckv::worker {
namespace {

constexpr absl::Duration kPollInterval = absl::Milliseconds(200);
constexpr size_t kTokensPerFrame = 16;
constexpr int kSubmitAttempts = 3;
constexpr absl::Duration kPoolRetryAfter = absl::Seconds(1);

absl::Status DrainingError() {
  return WithErrorInfo(absl::UnavailableError("the worker is draining"), {kReasonDraining, {}});
}

absl::Status NodeAwayError(absl::string_view what, const absl::Status& status) {
  return WithErrorInfo(absl::UnavailableError(absl::StrCat(what, ": ", status.message())),
                       {kReasonCacheUnavailable, {}});
}

}  // namespace

Turn::Turn(const TurnParts& parts, const TurnRunnerOptions& options,
           const v1::WorkerGenerateRequest& request, const TurnArrival& arrival,
           const TracePosition& trace, TurnControl& control, FrameSink& sink)
    : parts_(parts),
      options_(options),
      request_(request),
      arrival_(arrival),
      trace_(trace),
      control_(control),
      sink_(sink),
      key_{request.tenant(), request.session_id()},
      max_tokens_(MaxTokens(request.sampling())),
      seed_(SeedOf(request)),
      stop_tokens_(parts.inputs->StopTokens(request.sampling())),
      detokenizer_(parts.tokenizer, /*skip_special=*/true),
      picked_up_(absl::Now()) {}

absl::Status Turn::Run() {
  LCKV_RETURN_IF_ERROR(StopStatus());
  LCKV_RETURN_IF_ERROR(TakeSession());
  bool answered = false;
  LCKV_RETURN_IF_ERROR(Prepare(&answered));
  if (answered) return absl::OkStatus();
  if (const absl::Status status = Start(); !status.ok()) {
    LCKV_RETURN_IF_ERROR(CutBack(committed()));
    return status;
  }
  SendFirstFrame();
  Deliver();
  return Conclude();
}

absl::Status Turn::StopStatus() const {
  switch (control_.stop()) {
    case TurnControl::Stop::kNone:
      return absl::OkStatus();
    case TurnControl::Stop::kClientGone:
      return absl::CancelledError("the client went away");
    case TurnControl::Stop::kDraining:
      return DrainingError();
  }
  return absl::OkStatus();
}

absl::Status Turn::TakeSession() {
  Span span = trace_.StartSpan("acquire");
  const OutgoingTrace outgoing(FormatTraceparent(span.context()));
  const absl::Status status = TakeClaimAndLease();
  span.SetStatus(status);
  span.Set("lckv.session.hot", was_hot_);
  span.Set("lckv.takeover", request_.takeover());
  return status;
}

absl::Status Turn::TakeClaimAndLease() {
  const absl::Time claim_deadline =
      std::min(arrival_.deadline, parts_.clock->Now() + options_.claim_timeout);
  LCKV_ASSIGN_OR_RETURN(SessionClaim claim, parts_.store->Claim(key_, claim_deadline));
  claim_.emplace(std::move(claim));
  if (claim_->hot()) {
    const absl::Status lease = parts_.sync->EnsureLease(session(), arrival_.deadline);
    if (IsUnreachable(lease)) return NodeAwayError("lease not renewed", lease);
    if (!lease.ok()) {
      LogInfo("lease lost", {{"session", key_.session_id}, {"error", lease.ToString()}});
      parts_.evictor->Drop(*claim_, "lost");
    }
  }
  was_hot_ = claim_->hot();
  if (!was_hot_) {
    SessionOpener::AcquireOptions options;
    options.create = request_.create_session();
    options.takeover = request_.takeover();
    options.encode = request_.encode();
    options.durability = request_.durability();
    absl::StatusOr<AcquiredSession> acquired =
        parts_.opener->Acquire(session(), options, arrival_.deadline);
    if (IsUnreachable(acquired.status())) {
      return NodeAwayError("session not acquired", acquired.status());
    }
    LCKV_RETURN_IF_ERROR(acquired.status());
    acquired_.emplace(*std::move(acquired));
  }
  MutexLock lock(session().mu);
  head_ = session().head;
  return absl::OkStatus();
}

absl::Status Turn::Prepare(bool* answered) {
  kind_ = ClassifyAttempt(head_, request_.turn_id());
  if (kind_ == AttemptKind::kRepeat) {
    *answered = true;
    if (!was_hot_) GiveBackCold();
    return AnswerRepeat();
  }
  absl::Status status = PlanTurn();
  if (was_hot_) return status;
  if (status.ok()) status = OpenCold();
  if (!status.ok()) GiveBackCold();
  return status;
}

absl::Status Turn::PlanTurn() {
  opening_.tokens = committed();
  if (kind_ == AttemptKind::kReopened) {
    turn_begin_ = static_cast<int32_t>(head_.last_turn_begin());
    input_tokens_ = static_cast<int32_t>(head_.last_turn_input_tokens());
    return CheckResumed(request_.resume_from(), LastTurnReply(head_));
  }
  if (request_.has_expected_version()) {
    LCKV_RETURN_IF_ERROR(CheckVersion(request_.expected_version(), head_.version()));
  }
  LCKV_ASSIGN_OR_RETURN(input_, parts_.inputs->Build(request_, head_.tokens()));
  turn_begin_ = committed();
  input_tokens_ = static_cast<int32_t>(input_.size());
  return absl::OkStatus();
}

// The session stays cold: others may have it.
void Turn::GiveBackCold() {
  acquired_.reset();
  parts_.sync->ReleaseLease(session());
}

absl::Status Turn::OpenCold() {
  EncodePolicy policy;
  {
    MutexLock lock(session().mu);
    policy = session().policy;
  }
  if (kind_ == AttemptKind::kFresh) {
    opening_ = PlanOpening(acquired_->manifest(), policy, input_, request_.resume_from());
  } else {
    opening_.segments = ToEngineSegments(head_);
  }
  LCKV_ASSIGN_OR_RETURN(restore_, Restore(*parts_.opener, session(), *acquired_, opening_,
                                          arrival_.deadline, trace_));
  result_.set_numerics_changed(acquired_->numerics_changed);
  result_.set_kv_changed(acquired_->kv_changed);
  acquired_.reset();
  claim_->MarkHot();
  return absl::OkStatus();
}

absl::Status Turn::AnswerRepeat() {
  const absl::Span<const int32_t> reply = LastTurnReply(head_);
  LCKV_RETURN_IF_ERROR(CheckResumed(request_.resume_from(), reply));
  if (static_cast<size_t>(request_.resume_from_size()) > reply.size()) {
    return WithErrorInfo(absl::AbortedError("resume_from is longer than the committed turn"),
                         {kReasonVersionConflict, {}});
  }
  generated_.assign(request_.resume_from().begin(), request_.resume_from().end());
  for (const int32_t token : generated_) detokenizer_.Push(token);
  delivered_ = generated_.size();
  SendFirstFrame();
  for (const int32_t token : reply.subspan(delivered_)) Accept(token);
  FillResult(FinishReason::kStop);
  result_.set_finish_reason(head_.last_finish_reason());
  result_.set_version(head_.version());
  result_.mutable_usage()->set_input_tokens(head_.last_turn_input_tokens());
  result_.mutable_usage()->set_cached_tokens(head_.last_turn_begin());
  result_.set_restore_source(was_hot_ ? v1::HOT : v1::CACHE_NODE);
  v1::GenerateResponse frame;
  frame.mutable_token_ids()->Assign(pending_ids_.begin(), pending_ids_.end());
  frame.set_text(absl::StrCat(pending_text_, detokenizer_.Flush()));
  *frame.mutable_done() = result_;
  claim_->End();
  return sink_.Write(std::move(frame)) ? absl::OkStatus() : StopStatus();
}

absl::Status Turn::Start() {
  LCKV_RETURN_IF_ERROR(StopStatus());
  const absl::Span<const int32_t> resume_from = request_.resume_from();
  // Tokens of this turn's reply that the engine's transcript holds already.
  absl::Span<const int32_t> held = resume_from.first(opening_.resumed_adopted);
  if (kind_ == AttemptKind::kReopened) held = LastTurnReply(head_);
  generated_.assign(resume_from.begin(), resume_from.end());
  for (const int32_t token : generated_) detokenizer_.Push(token);
  delivered_ = generated_.size();
  if (held.size() > generated_.size()) {
    for (const int32_t token : held.subspan(generated_.size())) Accept(token);
  }
  TurnRequest request;
  request.session = session().engine_name;
  if (!opening_.input_adopted) request.input = input_;
  if (resume_from.size() > held.size()) {
    const auto rest = resume_from.subspan(held.size());
    request.resume_from.assign(rest.begin(), rest.end());
  }
  request.sampling = ToSamplingOptions(request_.sampling(), seed_);
  request.max_tokens = max_tokens_ - static_cast<int32_t>(held.size());
  request.stop_tokens = stop_tokens_;

  const bool stopped = !held.empty() && std::find(stop_tokens_.begin(), stop_tokens_.end(),
                                                  held.back()) != stop_tokens_.end();
  if (stopped || request.max_tokens <= 0) {
    // An earlier attempt generated all of it.
    outcome_.emplace();
    outcome_->finish_reason = stopped ? FinishReason::kStop : FinishReason::kLength;
    return absl::OkStatus();
  }
  return Submit(std::move(request));
}

absl::Status Turn::Submit(TurnRequest request) {
  {
    MutexLock lock(session().mu);
    session().unpushed = true;
  }
  claim_->SetState(SessionState::kRunning);
  const int64_t tokens = std::min<int64_t>(
      int64_t{opening_.tokens} + static_cast<int64_t>(request.input.size()) + request.max_tokens,
      parts_.engine->max_context());
  const int64_t pages = parts_.engine->page_layout().PagesFor(tokens);
  stream_ = std::make_shared<TurnStream>(options_.stream_capacity, nullptr);
  submitted_ = absl::Now();
  absl::Status status;
  for (int attempt = 0; attempt < kSubmitAttempts; ++attempt) {
    status = parts_.engine->Submit(request, stream_);
    if (ErrorReason(status) != kReasonPoolFull || !parts_.evictor->MakeRoom(pages)) break;
  }
  if (absl::IsResourceExhausted(status) && !GetRetryAfter(status).has_value()) {
    return WithRetryAfter(status, kPoolRetryAfter);
  }
  return status;
}

void Turn::SendFirstFrame() {
  v1::GenerateResponse frame;
  frame.set_session_id(key_.session_id);
  frame.set_seed(seed_);
  if (!sink_.Write(std::move(frame))) control_.RequestStop(TurnControl::Stop::kClientGone);
}

void Turn::Deliver() {
  if (stream_ == nullptr) {
    SendPending();
    return;
  }
  const std::string& name = session().engine_name;
  control_.Attach([this, &name] { parts_.engine->Cancel(name); });
  SendPending();
  while (!outcome_.has_value()) {
    std::optional<TurnEvent> event = stream_->PopWithTimeout(kPollInterval);
    while (event.has_value()) {
      if (const auto* outcome = std::get_if<TurnOutcome>(&*event)) {
        outcome_ = *outcome;
        break;
      }
      Accept(std::get<TurnToken>(*event).id);
      if (pending_ids_.size() >= kTokensPerFrame) SendPending();
      event = stream_->TryPop();
    }
    SendPending();
  }
  control_.Detach();
  claim_->SetEnding();
  RecordEngineSpans(*outcome_, static_cast<int32_t>(head_.passes()), submitted_, trace_);
}

void Turn::Accept(int32_t token) {
  const absl::Time now = absl::Now();
  if (last_token_ == absl::InfinitePast()) {
    result_.mutable_timings()->set_time_to_first_token_seconds(
        absl::ToDoubleSeconds(now - arrival_.received));
    parts_.metrics->OnTimeToFirstToken(now - arrival_.received);
  } else {
    parts_.metrics->OnInterToken(now - last_token_);
  }
  last_token_ = now;
  generated_.push_back(token);
  pending_ids_.push_back(token);
  pending_text_ += detokenizer_.Push(token);
  // The first token too: by then the input is encoded, which is what costs most.
  const size_t interval = static_cast<size_t>(options_.checkpoint_tokens);
  if (stream_ != nullptr && (generated_.size() == 1 || generated_.size() % interval == 0)) {
    parts_.push_queue->Schedule(claim_->shared_session(), trace_);
  }
}

bool Turn::SendPending() {
  if (pending_ids_.empty()) return true;
  v1::GenerateResponse frame;
  frame.mutable_token_ids()->Assign(pending_ids_.begin(), pending_ids_.end());
  frame.set_text(std::exchange(pending_text_, {}));
  pending_ids_.clear();
  if (sink_.Write(std::move(frame))) {
    delivered_ = generated_.size();
    return true;
  }
  control_.RequestStop(TurnControl::Stop::kClientGone);
  return false;
}

absl::Status Turn::Conclude() {
  if (!outcome_->status.ok()) {
    LCKV_RETURN_IF_ERROR(CutBack(committed()));
    return Annotate(outcome_->status, "the engine gave the turn up");
  }
  const TurnControl::Stop stop = control_.stop();
  const bool cancelled = outcome_->finish_reason == FinishReason::kCancelled;
  if (cancelled && stop != TurnControl::Stop::kClientGone) return ConcludeDrained();
  if (!cancelled && delivered_ == generated_.size()) return Commit(outcome_->finish_reason);
  if (stop == TurnControl::Stop::kDraining) return ConcludeDrained();

  if (request_.discard_on_disconnect()) {
    LCKV_RETURN_IF_ERROR(CutBack(committed()));
    return absl::CancelledError("the client went away; the turn is forgotten");
  }
  // What is committed already (of a reopened turn) stays.
  const int32_t reply_begin = turn_begin_ + input_tokens_;
  const int32_t kept = std::max(reply_begin + static_cast<int32_t>(delivered_), committed());
  generated_.resize(static_cast<size_t>(kept - reply_begin));
  LCKV_RETURN_IF_ERROR(CutBack(kept));
  const absl::Status status = Commit(FinishReason::kCancelled);
  return status.ok() ? StopStatus() : status;
}

// The turn goes on elsewhere: what it has so far is left at the cache node as a checkpoint.
absl::Status Turn::ConcludeDrained() {
  const absl::Status pushed = parts_.push->Push(session(), trace_);
  if (!pushed.ok()) {
    LogWarning("checkpoint before moving a turn failed",
               {{"session", key_.session_id}, {"error", pushed.ToString()}});
  }
  parts_.evictor->Drop(*claim_, "drain");
  return DrainingError();
}

absl::Status Turn::Commit(FinishReason reason) {
  absl::StatusOr<SessionTranscript> transcript =
      parts_.engine->GetTranscript(session().engine_name);
  LCKV_RETURN_IF_ERROR(transcript.status());
  v1::Manifest next = head_;
  SetTranscript(transcript->tokens, transcript->segments, &next);
  next.set_committed_tokens(static_cast<uint32_t>(transcript->tokens.size()));
  next.set_version(head_.version() + 1);
  next.set_last_turn_id(request_.turn_id());
  next.set_last_turn_begin(static_cast<uint32_t>(turn_begin_));
  next.set_last_turn_input_tokens(static_cast<uint32_t>(input_tokens_));
  next.set_last_finish_reason(ToProtoReason(reason));
  next.set_last_turn_seed(seed_);
  const absl::Status status = CommitManifest(next);
  if (!status.ok()) LCKV_RETURN_IF_ERROR(CommitFailed(status, std::move(next)));
  FillResult(reason);

  const std::shared_ptr<HotSession> shared = claim_->shared_session();
  // Before the last frame: the client's next turn may be here before Write returns.
  claim_->End();
  v1::GenerateResponse frame;
  frame.set_text(detokenizer_.Flush());
  *frame.mutable_done() = result_;
  const bool delivered = sink_.Write(std::move(frame));
  parts_.push_queue->Schedule(shared, trace_);
  return delivered ? absl::OkStatus() : absl::CancelledError("the client went away");
}

absl::Status Turn::CommitManifest(const v1::Manifest& next) {
  Span span = trace_.StartSpan("commit");
  const OutgoingTrace outgoing(FormatTraceparent(span.context()));
  // The client's deadline does not count: what it has seen must not be lost.
  const absl::Status status =
      parts_.sync->CommitTurn(session(), next, absl::Now() + options_.commit_timeout);
  span.SetStatus(status);
  span.Set("lckv.session.version", next.version());
  span.Set("lckv.transcript_tokens", next.committed_tokens());
  span.Set("lckv.durable", next.durability() == v1::DURABLE);
  return status;
}

// OK: the turn is acknowledged nevertheless.
absl::Status Turn::CommitFailed(const absl::Status& status, v1::Manifest next) {
  if (IsUnreachable(status) && next.durability() == v1::MEMORY) {
    LogWarning("turn acknowledged without the cache node",
               {{"session", key_.session_id}, {"error", status.ToString()}});
    parts_.sync->AdoptUnstored(session(), std::move(next));
    return absl::OkStatus();
  }
  if (absl::IsAborted(status)) {
    parts_.metrics->OnLeaseConflict();
    parts_.evictor->Drop(*claim_, "lost");
    return status;
  }
  LCKV_RETURN_IF_ERROR(CutBack(committed()));
  return IsUnreachable(status) ? NodeAwayError("the turn is not committed", status) : status;
}

// Brings the engine's transcript back to `tokens`; a session that cannot be cut leaves.
absl::Status Turn::CutBack(int32_t tokens) {
  absl::Status status = parts_.sync->Cut(session(), tokens);
  if (!status.ok()) {
    LogError("session not cut", {{"session", key_.session_id}, {"error", status.ToString()}});
    parts_.evictor->Drop(*claim_, "lost");
  }
  return status;
}

void Turn::FillResult(FinishReason reason) {
  const TurnOutcome outcome = outcome_.value_or(TurnOutcome());
  const double waited = absl::ToDoubleSeconds(picked_up_ - arrival_.received);
  result_.set_finish_reason(ToProtoReason(reason));
  result_.set_version(head_.version() + 1);
  v1::Usage* usage = result_.mutable_usage();
  usage->set_input_tokens(static_cast<uint32_t>(input_tokens_));
  usage->set_generated_tokens(static_cast<uint32_t>(generated_.size()));
  usage->set_cached_tokens(static_cast<uint32_t>(outcome.cached_tokens));
  usage->set_reencoded_tokens(static_cast<uint32_t>(outcome.reencoded_tokens));
  usage->set_restored_bytes(restore_.bytes);
  if (was_hot_) {
    result_.set_restore_source(committed() > 0 ? v1::HOT : v1::NEW);
  } else if (outcome.reencoded_tokens > 0) {
    result_.set_restore_source(v1::RECOMPUTED);
    parts_.metrics->OnReencoded(restore_.outcome, outcome.reencoded_tokens);
  } else {
    result_.set_restore_source(opening_.tokens > 0 ? v1::CACHE_NODE : v1::NEW);
  }
  v1::Timings* timings = result_.mutable_timings();
  timings->set_queue_seconds(waited + outcome.queue_seconds);
  timings->set_restore_seconds(absl::ToDoubleSeconds(restore_.time));
  timings->set_encode_seconds(outcome.encode_seconds);
  timings->set_decode_seconds(outcome.decode_seconds);
  timings->set_total_seconds(absl::ToDoubleSeconds(absl::Now() - arrival_.received));
  result_.set_encode_residual(outcome.encode_residual);
  result_.set_worker(options_.worker_id);
  result_.set_kv_bytes_per_token(
      static_cast<uint64_t>(parts_.engine->page_layout().bytes_per_token()));
}

}  // namespace lckv::worker
