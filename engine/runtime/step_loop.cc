#include "engine/runtime/step_loop.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/check.h"
#include "base/error_info.h"
#include "base/log.h"
#include "base/status_macros.h"

namespace lckv {
namespace {

// How long the loop sleeps when every turn waits for its consumer: the most that a consumer's
// catching up goes unseen.
constexpr absl::Duration kPausedPoll = absl::Milliseconds(1);
constexpr absl::Duration kIdlePoll = absl::Seconds(1);

double Seconds(absl::Time from, absl::Time to) {
  if (from == absl::InfinitePast() || to == absl::InfinitePast()) return 0;
  return absl::ToDoubleSeconds(to - from);
}

}  // namespace

StepLoop::StepLoop(const Model* model, const PageLayout* layout,
                   std::unique_ptr<Transformer> transformer, std::vector<EncodeSlot> slots,
                   DeviceBuffer page_memory, int64_t num_pages, const Limits& limits,
                   EngineObserver* observer)
    : model_(model),
      layout_(layout),
      limits_(limits),
      observer_(observer),
      transformer_(std::move(transformer)),
      slots_(std::move(slots)),
      slot_taken_(slots_.size(), false),
      page_memory_(std::move(page_memory)),
      pool_(num_pages),
      thread_([this] { ThreadMain(); }) {}

StepLoop::~StepLoop() {
  {
    MutexLock lock(mu_);
    stopping_ = true;
  }
  wake_loop_.NotifyAll();
  thread_.join();
}

void StepLoop::Run(const std::function<void()>& task) {
  LCKV_CHECK(std::this_thread::get_id() != thread_.get_id());
  Task entry{&task};
  MutexLock lock(mu_);
  requests_.push_back({&entry, {}});
  wake_loop_.NotifyAll();
  while (!entry.done) task_done_.Wait(mu_);
}

EngineLoad StepLoop::load() const {
  EngineLoad load;
  load.running_turns = running_turns_.load(std::memory_order_relaxed);
  load.waiting_turns = waiting_turns_.load(std::memory_order_relaxed);
  load.pages_used = pages_used_.load(std::memory_order_relaxed);
  load.pages_capacity = pool_.capacity();
  load.open_sessions = open_sessions_.load(std::memory_order_relaxed);
  return load;
}

void StepLoop::PublishLoad() {
  running_turns_.store(static_cast<int>(running_.size()), std::memory_order_relaxed);
  waiting_turns_.store(static_cast<int>(waiting_.size()), std::memory_order_relaxed);
  pages_used_.store(pool_.capacity() - pool_.free_pages(), std::memory_order_relaxed);
  open_sessions_.store(static_cast<int64_t>(sessions_.size()), std::memory_order_relaxed);
}

void StepLoop::ThreadMain() {
  while (RunRequests()) {
    StartWaitingTurns();
    const bool worked = Step();
    PublishLoad();
    if (worked) continue;
    MutexLock lock(mu_);
    if (requests_.empty() && !stopping_) {
      wake_loop_.WaitWithTimeout(mu_, running_.empty() ? kIdlePoll : kPausedPoll);
    }
  }
  for (auto& [name, session] : sessions_) {
    if (session->turn != nullptr) Finish(*session, FinishReason::kCancelled, absl::OkStatus());
    pool_.Release(session->pages);
  }
  sessions_.clear();
}

bool StepLoop::RunRequests() {
  MutexLock lock(mu_);
  while (!stopping_ && !requests_.empty()) {
    const Request request = std::move(requests_.front());
    requests_.pop_front();
    mu_.Unlock();
    if (request.task != nullptr) {
      (*request.task->run)();
    } else {
      CancelTurn(request.session);
    }
    PublishLoad();
    mu_.Lock();
    if (request.task == nullptr) continue;
    request.task->done = true;
    task_done_.NotifyAll();
  }
  return !stopping_;
}

void StepLoop::Cancel(absl::string_view name) {
  {
    MutexLock lock(mu_);
    requests_.push_back({nullptr, std::string(name)});
  }
  wake_loop_.NotifyAll();
}

void StepLoop::CancelTurn(absl::string_view name) {
  const auto it = sessions_.find(name);
  if (it != sessions_.end() && it->second->turn != nullptr) {
    Finish(*it->second, FinishReason::kCancelled, absl::OkStatus());
  }
}

void StepLoop::StartWaitingTurns() {
  while (!waiting_.empty() && running_.size() < static_cast<size_t>(limits_.max_running_turns)) {
    running_.push_back(waiting_.front());
    waiting_.pop_front();
  }
}

SchedulableTurn StepLoop::View(const SessionState& session) const {
  const TurnState& turn = *session.turn;
  SchedulableTurn view;
  view.decode = turn.decoding();
  // A turn that samples at the end of this step needs room for the token; replayed tokens are not
  // sent.
  view.ready = turn.stream->HasSpace();
  if (view.decode) return view;
  const WorkItem item = turn.cursor->Next(limits_.step_tokens);
  view.needs_slot = turn.cursor->needs_slot();
  view.has_slot = turn.slot >= 0;
  view.stage = item.stage;
  view.waiting_rows = item.rows();
  return view;
}

SequenceWork StepLoop::MakeWork(SessionState& session, const StepPick& pick,
                                std::vector<void*>& pages) {
  TurnState& turn = *session.turn;
  const auto known = static_cast<int32_t>(session.transcript.tokens.size());
  SequenceWork work;
  if (turn.decoding()) {
    work.item.begin = known - 1;
    work.item.end = known;
    work.item.segment_begin = known - 1;
  } else {
    work.item = turn.cursor->Next(pick.max_rows);
  }
  if (pick.takes_slot) {
    const auto free = std::find(slot_taken_.begin(), slot_taken_.end(), false);
    LCKV_CHECK(free != slot_taken_.end());
    *free = true;
    turn.slot = static_cast<int>(free - slot_taken_.begin());
  }
  work.slot =
      work.item.stage == WorkItem::kAllLayers ? nullptr : &slots_[static_cast<size_t>(turn.slot)];
  work.tokens = session.transcript.tokens.data() + work.item.begin;
  if (work.item.end == known) {
    work.logits = LogitsWanted::kLast;
    work.sample = SampleRow{turn.request.sampling, static_cast<uint64_t>(known)};
  }
  for (int64_t page = 0; page < layout_->PagesFor(work.item.end); ++page) {
    pages.push_back(PageAddress(session.pages[static_cast<size_t>(page)]));
  }
  work.pages = pages;
  return work;
}

bool StepLoop::Step() {
  if (running_.empty()) return false;
  const absl::Time begin = absl::Now();
  std::vector<SchedulableTurn> views;
  for (const SessionState* session : running_) views.push_back(View(*session));
  ScheduleLimits limits;
  limits.step_tokens = limits_.step_tokens;
  limits.free_slots =
      static_cast<int32_t>(std::count(slot_taken_.begin(), slot_taken_.end(), false));
  const std::vector<StepPick> picks = Schedule(views, limits);
  if (picks.empty()) return false;

  std::vector<SessionState*> sessions;
  std::vector<SequenceWork> work;
  std::vector<std::vector<void*>> pages(picks.size());
  StepStats stats;
  for (size_t i = 0; i < picks.size(); ++i) {
    SessionState& session = *running_[picks[i].turn];
    if (session.turn->started == absl::InfinitePast()) session.turn->started = begin;
    work.push_back(MakeWork(session, picks[i], pages[i]));
    sessions.push_back(&session);
    (session.turn->decoding() ? stats.decode_rows : stats.encode_rows) += work.back().item.rows();
  }
  stats.schedule_seconds = absl::ToDoubleSeconds(absl::Now() - begin);
  const absl::StatusOr<Transformer::Output> output = transformer_->Forward(work);
  if (!output.ok()) {
    Fail(output.status());
    return false;
  }
  // Before the turns hear of it: whoever sees a turn's end sees its numbers too.
  if (observer_ != nullptr) {
    stats.sequences = static_cast<int>(picks.size());
    stats.seconds = absl::ToDoubleSeconds(absl::Now() - begin);
    stats.commit_seconds_before = std::exchange(commit_seconds_, 0);
    observer_->OnStep(stats);
  }
  const absl::Time computed = absl::Now();
  for (size_t i = 0; i < sessions.size(); ++i) {
    Commit(*sessions[i], work[i].item, output->token[i], output->kv_change[i]);
  }
  commit_seconds_ = absl::ToDoubleSeconds(absl::Now() - computed);
  return true;
}

void StepLoop::Fail(const absl::Status& status) {
  if (!failure_.ok()) return;
  failure_ = status;
  LogError("device failed", {{"error", failure_.ToString()}});
  for (auto& [name, session] : sessions_) {
    if (session->turn != nullptr) Finish(*session, FinishReason::kCancelled, failure_);
  }
}

void StepLoop::Commit(SessionState& session, const WorkItem& item, int32_t token, float kv_change) {
  TurnState& turn = *session.turn;
  if (turn.decoding()) {
    session.transcript.kv_tokens = item.end;
  } else {
    const int32_t length = turn.cursor->segment_end() - turn.cursor->segment_begin();
    if (turn.cursor->needs_slot() && length > session.passes) {
      // One pass has no pass before it: nothing is known about the error.
      const float change = session.passes == 1 ? 1.0f : kv_change;
      turn.outcome.encode_residual = std::max(turn.outcome.encode_residual, change);
    }
    turn.cursor->Advance(item);
    session.transcript.kv_tokens = turn.cursor->kv_tokens();
    if (turn.slot >= 0 && !turn.cursor->needs_slot()) {
      slot_taken_[static_cast<size_t>(turn.slot)] = false;
      turn.slot = -1;
    }
    if (!turn.cursor->done()) return;
    turn.encoded = absl::Now();
  }
  LCKV_CHECK(token >= 0);
  AddToken(session, token);
}

std::optional<FinishReason> StepLoop::EndOf(const SessionState& session) const {
  const TurnState& turn = *session.turn;
  const std::vector<int32_t>& tokens = session.transcript.tokens;
  const std::vector<int32_t>& stops = turn.request.stop_tokens;
  if (std::find(stops.begin(), stops.end(), tokens.back()) != stops.end()) {
    return FinishReason::kStop;
  }
  if (turn.generated >= turn.request.max_tokens) return FinishReason::kLength;
  if (static_cast<int>(tokens.size()) >= limits_.max_context) return FinishReason::kContext;
  return std::nullopt;
}

void StepLoop::AddToken(SessionState& session, int32_t token) {
  TurnState& turn = *session.turn;
  SessionTranscript& transcript = session.transcript;
  transcript.tokens.push_back(token);
  AppendGenerated(transcript.segments);
  ++turn.generated;
  turn.stream->Push(TurnToken{token});
  if (const std::optional<FinishReason> ended = EndOf(session)) {
    Finish(session, *ended, absl::OkStatus());
  }
}

void StepLoop::Finish(SessionState& session, FinishReason reason, const absl::Status& status) {
  TurnState& turn = *session.turn;
  const absl::Time now = absl::Now();
  if (turn.slot >= 0) slot_taken_[static_cast<size_t>(turn.slot)] = false;
  if (!status.ok()) CutTranscript(session, turn.tokens_before);
  // Pages that the turn had set aside and did not need.
  const auto needed = static_cast<size_t>(
      layout_->PagesFor(static_cast<int64_t>(session.transcript.tokens.size())));
  while (session.pages.size() > needed) {
    pool_.Release(session.pages.back());
    session.pages.pop_back();
  }
  TurnOutcome& outcome = turn.outcome;
  outcome.status = status;
  outcome.finish_reason = reason;
  outcome.generated_tokens = turn.generated;
  const absl::Time started = turn.started == absl::InfinitePast() ? now : turn.started;
  outcome.queue_seconds = Seconds(turn.submitted, started);
  outcome.encode_seconds = Seconds(started, turn.encoded);
  outcome.decode_seconds = Seconds(turn.encoded, now);
  const std::shared_ptr<TurnStream> stream = turn.stream;
  const TurnOutcome final_outcome = outcome;
  std::erase(running_, &session);
  std::erase(waiting_, &session);
  session.turn.reset();
  PublishLoad();
  stream->Push(final_outcome);
}

}  // namespace lckv
