// The half of StepLoop that other threads ask for between two steps: sessions, pages, submission.

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/check.h"
#include "base/error_info.h"
#include "base/status_macros.h"
#include "engine/runtime/step_loop.h"

namespace lckv {

absl::StatusOr<std::vector<int32_t>> StepLoop::AllocatePages(int64_t count) {
  return pool_.Allocate(count);
}

void StepLoop::ReleasePages(const std::vector<int32_t>& pages) { pool_.Release(pages); }

uint8_t* StepLoop::PageAddress(int32_t page) const {
  return page_memory_.bytes() + int64_t{page} * layout_->page_bytes();
}

absl::StatusOr<SessionState*> StepLoop::Find(absl::string_view name) const {
  const auto it = sessions_.find(name);
  if (it == sessions_.end()) {
    return absl::NotFoundError(absl::StrCat("session ", name, " is not open"));
  }
  return it->second.get();
}

absl::Status StepLoop::OpenSession(absl::string_view name, const EncodePolicy& policy,
                                   int32_t passes, SessionTranscript transcript,
                                   std::vector<int32_t>& pages) {
  if (sessions_.find(name) != sessions_.end()) {
    return absl::AlreadyExistsError(absl::StrCat("session ", name, " is open"));
  }
  auto session = std::make_unique<SessionState>();
  session->name = std::string(name);
  session->policy = policy;
  session->passes = passes;
  session->transcript = std::move(transcript);
  session->pages = std::exchange(pages, {});
  sessions_.emplace(session->name, std::move(session));
  return absl::OkStatus();
}

absl::Status StepLoop::CloseSession(absl::string_view name) {
  LCKV_ASSIGN_OR_RETURN(SessionState * session, Find(name));
  if (session->turn != nullptr) Finish(*session, FinishReason::kCancelled, absl::OkStatus());
  pool_.Release(session->pages);
  sessions_.erase(sessions_.find(name));
  return absl::OkStatus();
}

absl::StatusOr<SessionTranscript> StepLoop::GetTranscript(absl::string_view name) const {
  LCKV_ASSIGN_OR_RETURN(const SessionState* session, Find(name));
  return session->transcript;
}

absl::StatusOr<std::shared_ptr<PageHold>> StepLoop::Hold(absl::string_view name, int32_t first_page,
                                                         int32_t max_pages) {
  LCKV_ASSIGN_OR_RETURN(SessionState * session, Find(name));
  if (first_page < 0) return absl::InvalidArgumentError("negative page number");
  if (max_pages < 1) return absl::InvalidArgumentError("no pages wanted");
  auto hold = std::make_shared<PageHold>();
  hold->session = session->name;
  hold->transcript = session->transcript;
  hold->intact_tokens = session->transcript.kv_tokens;
  const int64_t end =
      std::min(layout_->PagesFor(session->transcript.kv_tokens), int64_t{first_page} + max_pages);
  for (int64_t page = first_page; page < end; ++page) {
    hold->pages.push_back(session->pages[static_cast<size_t>(page)]);
    pool_.AddReference(hold->pages.back());
  }
  session->holds.push_back(hold);
  return hold;
}

void StepLoop::Release(const std::shared_ptr<PageHold>& hold) {
  pool_.Release(hold->pages);
  // Another session may have the name by now.
  if (const auto it = sessions_.find(hold->session); it != sessions_.end()) {
    std::erase(it->second->holds, hold);
  }
}

absl::Status StepLoop::Truncate(absl::string_view name, int32_t tokens) {
  LCKV_ASSIGN_OR_RETURN(SessionState * session, Find(name));
  if (session->turn != nullptr) {
    return absl::FailedPreconditionError(absl::StrCat("session ", name, " has a running turn"));
  }
  if (tokens < 0 || static_cast<size_t>(tokens) > session->transcript.tokens.size()) {
    return absl::OutOfRangeError(
        absl::StrCat("cannot cut ", session->transcript.tokens.size(), " tokens to ", tokens));
  }
  CutTranscript(*session, tokens);
  while (static_cast<int64_t>(session->pages.size()) > layout_->PagesFor(tokens)) {
    pool_.Release(session->pages.back());
    session->pages.pop_back();
  }
  return absl::OkStatus();
}

void StepLoop::RewindKv(SessionState& session, int32_t kv_tokens) {
  if (kv_tokens >= session.transcript.kv_tokens) return;
  session.transcript.kv_tokens = kv_tokens;
  for (const std::shared_ptr<PageHold>& hold : session.holds) {
    hold->intact_tokens = std::min(hold->intact_tokens, kv_tokens);
  }
}

void StepLoop::CutTranscript(SessionState& session, int32_t tokens) {
  SessionTranscript& transcript = session.transcript;
  transcript.tokens.resize(static_cast<size_t>(tokens));
  TruncateSegments(tokens, transcript.segments);
  RewindKv(session, tokens);
}

absl::Status StepLoop::CheckRequest(const SessionState& session, const TurnRequest& request) const {
  const int64_t known = static_cast<int64_t>(session.transcript.tokens.size() +
                                             request.input.size() + request.resume_from.size());
  if (known == 0) return absl::InvalidArgumentError("input is empty, and so is the session");
  if (request.max_tokens < 1) return absl::InvalidArgumentError("max_tokens must be at least 1");
  if (static_cast<int64_t>(request.resume_from.size()) > request.max_tokens) {
    return absl::InvalidArgumentError("resume_from is longer than max_tokens");
  }
  const auto in_vocabulary = [&](int32_t token) {
    return token >= 0 && token < model_->config().vocab_size;
  };
  for (const auto* tokens : {&request.input, &request.resume_from}) {
    const auto bad = std::find_if_not(tokens->begin(), tokens->end(), in_vocabulary);
    if (bad != tokens->end()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "token ", *bad, " is outside the vocabulary of ", model_->config().vocab_size));
    }
  }
  // One token at least must have room to be generated (unless all were, by an earlier attempt).
  const int64_t room = request.resume_from.empty() ? 1 : 0;
  if (known + room > limits_.max_context) {
    return WithErrorInfo(
        absl::OutOfRangeError(absl::StrCat("the session would have ", known,
                                           " tokens, but the context holds ", limits_.max_context)),
        {kReasonContextFull, {}});
  }
  return absl::OkStatus();
}

absl::Status StepLoop::Submit(TurnRequest request, std::shared_ptr<TurnStream> stream) {
  LCKV_RETURN_IF_ERROR(failure_);
  LCKV_ASSIGN_OR_RETURN(SessionState * session, Find(request.session));
  if (session->turn != nullptr) {
    return WithErrorInfo(
        absl::AbortedError(absl::StrCat("session ", request.session, " has a running turn")),
        {kReasonSessionBusy, {}});
  }
  if (waiting_.size() >= static_cast<size_t>(limits_.max_waiting_turns)) {
    return WithRetryAfter(
        WithErrorInfo(absl::ResourceExhaustedError(absl::StrCat(waiting_.size(), " turns wait")),
                      {kReasonQueueFull, {}}),
        absl::Seconds(1));
  }
  LCKV_RETURN_IF_ERROR(CheckRequest(*session, request));
  const int64_t known =
      static_cast<int64_t>(session->transcript.tokens.size() + request.input.size());
  const int64_t total = std::min<int64_t>(known + request.max_tokens, limits_.max_context);
  const int64_t missing = layout_->PagesFor(total) - static_cast<int64_t>(session->pages.size());
  if (missing > 0) {
    LCKV_ASSIGN_OR_RETURN(std::vector<int32_t> pages, pool_.Allocate(missing));
    session->pages.insert(session->pages.end(), pages.begin(), pages.end());
  }
  session->turn = std::make_unique<TurnState>();
  session->turn->request = std::move(request);
  session->turn->stream = std::move(stream);
  session->turn->submitted = absl::Now();
  BeginTurn(*session);
  return absl::OkStatus();
}

void StepLoop::BeginTurn(SessionState& session) {
  TurnState& turn = *session.turn;
  SessionTranscript& transcript = session.transcript;
  const auto before = static_cast<int32_t>(transcript.tokens.size());
  turn.tokens_before = before;
  const auto input = static_cast<int32_t>(turn.request.input.size());
  const auto resumed = static_cast<int32_t>(turn.request.resume_from.size());
  transcript.tokens.insert(transcript.tokens.end(), turn.request.input.begin(),
                           turn.request.input.end());
  AppendInput(session.policy, input, transcript.segments);
  for (int32_t token : turn.request.resume_from) {
    transcript.tokens.push_back(token);
    AppendGenerated(transcript.segments);
  }
  turn.generated = resumed;
  // The last known token is always evaluated: its logits are wanted.
  const int32_t all_but_last = static_cast<int32_t>(transcript.tokens.size()) - 1;
  RewindKv(session,
           UsableKvTokens(transcript.segments, std::min(transcript.kv_tokens, all_but_last),
                          model_->config().layer_map.cyclic()));

  // Whoever went before us has computed everything but the last token that it generated.
  const int32_t computed = (resumed > 0 ? before + input + resumed : before) - 1;
  turn.outcome.input_tokens = input;
  turn.outcome.cached_tokens = transcript.kv_tokens;
  turn.outcome.reencoded_tokens = std::max(0, computed - transcript.kv_tokens);

  waiting_.push_back(&session);
  if (const std::optional<FinishReason> ended = EndOf(session); resumed > 0 && ended.has_value()) {
    // An earlier attempt generated all of it: there is nothing to compute.
    turn.outcome.reencoded_tokens = 0;
    Finish(session, *ended, absl::OkStatus());
    return;
  }
  turn.cursor.emplace(&model_->config().layer_map, transcript.segments, transcript.kv_tokens,
                      static_cast<int32_t>(transcript.tokens.size()), session.passes,
                      /*all_logits=*/false);
}

}  // namespace lckv
