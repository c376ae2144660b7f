#include "engine/bench/workload.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <optional>
#include <utility>
#include <variant>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/check.h"
#include "base/status_macros.h"

namespace lckv {
namespace {

constexpr absl::Duration kEventTimeout = absl::Minutes(10);

// A turn whose stream is full from the start, so that the engine does not begin with it.
class HeldTurn {
 public:
  explicit HeldTurn(int32_t max_tokens) : capacity_(max_tokens + 1) {
    const auto note = [state = state_] {  // on the engine's thread, once more after the outcome
      if (state->released && state->first_event_ns == 0) {
        state->first_event_ns = absl::GetCurrentTimeNanos();
      }
    };
    stream_ = std::make_shared<TurnStream>(static_cast<size_t>(capacity_), note);
    for (int32_t i = 0; i < capacity_; ++i) stream_->Push(TurnToken{});
  }

  const std::shared_ptr<TurnStream>& stream() const { return stream_; }
  void Release() {
    state_->released = true;
    for (int32_t i = 0; i < capacity_; ++i) stream_->TryPop();
  }

  // Waits for the end of the turn, and says when the engine sent something first.
  absl::StatusOr<absl::Time> Wait() {
    while (std::optional<TurnEvent> event = stream_->PopWithTimeout(kEventTimeout)) {
      const auto* outcome = std::get_if<TurnOutcome>(&*event);
      if (outcome == nullptr) continue;
      LCKV_RETURN_IF_ERROR(outcome->status);
      return absl::FromUnixNanos(state_->first_event_ns);
    }
    return absl::DeadlineExceededError("a turn did not end");
  }

 private:
  struct State {
    std::atomic<bool> released{false};
    std::atomic<int64_t> first_event_ns{0};  // since 1970
  };
  const int32_t capacity_;
  const std::shared_ptr<State> state_ = std::make_shared<State>();
  std::shared_ptr<TurnStream> stream_;
};

}  // namespace

double Median(std::vector<double> values) {
  LCKV_CHECK(!values.empty());
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

// A small multiplicative generator spreads the ids.
std::vector<int32_t> SyntheticTokens(int64_t count, int32_t vocab_size, uint32_t seed) {
  std::vector<int32_t> tokens;
  uint64_t state = seed * uint64_t{2654435761} + 1;
  for (int64_t i = 0; i < count; ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    tokens.push_back(static_cast<int32_t>((state >> 33) % static_cast<uint64_t>(vocab_size)));
  }
  return tokens;
}

void StepClock::OnStep(const StepStats& stats) {
  MutexLock lock(mu_);
  steps_.push_back({stats, absl::Now()});
}

std::vector<double> StepClock::TakeDecodeSteps(int rows) {
  std::vector<Step> steps;
  {
    MutexLock lock(mu_);
    steps.swap(steps_);
  }
  const auto decodes = [rows](const Step& step) {
    return step.stats.decode_rows == rows && step.stats.encode_rows == 0;
  };
  std::vector<double> seconds;
  for (size_t i = 1; i < steps.size(); ++i) {
    if (!decodes(steps[i - 1]) || !decodes(steps[i])) continue;
    seconds.push_back(absl::ToDoubleSeconds(steps[i].end - steps[i - 1].end));
  }
  return seconds;
}

absl::StatusOr<TurnTimes> RunTurns(Engine& engine, std::vector<TurnRequest> turns) {
  std::vector<std::unique_ptr<HeldTurn>> held;
  absl::Status status;
  for (TurnRequest& turn : turns) {
    auto next = std::make_unique<HeldTurn>(turn.max_tokens);
    status = engine.Submit(std::move(turn), next->stream());
    if (!status.ok()) break;
    held.push_back(std::move(next));
  }
  const absl::Time begin = absl::Now();
  for (const auto& turn : held) turn->Release();
  absl::Time encoded = begin;
  for (const auto& turn : held) {
    const absl::StatusOr<absl::Time> first_event = turn->Wait();
    status.Update(first_event.status());
    if (first_event.ok()) encoded = std::max(encoded, *first_event);
  }
  const absl::Time end = absl::Now();
  LCKV_RETURN_IF_ERROR(status);
  return TurnTimes{absl::ToDoubleSeconds(end - begin), absl::ToDoubleSeconds(encoded - begin)};
}

absl::StatusOr<TurnTimes> RunFresh(Engine& engine, const FreshTurns& fresh) {
  std::vector<TurnRequest> turns;
  absl::Status status;
  for (int32_t i = 0; i < fresh.batch && status.ok(); ++i) {
    TurnRequest turn;
    turn.session = absl::StrCat("fresh-", i);
    turn.input =
        SyntheticTokens(fresh.prompt, engine.config().vocab_size, static_cast<uint32_t>(i));
    turn.max_tokens = fresh.generate;
    status = engine.OpenSession(turn.session, fresh.policy, {}, nullptr);
    if (status.ok()) turns.push_back(std::move(turn));
  }
  const size_t open = turns.size();
  TurnTimes times;
  if (status.ok()) {
    const absl::StatusOr<TurnTimes> timed = RunTurns(engine, std::move(turns));
    status = timed.status();
    if (timed.ok()) times = *timed;
  }
  for (size_t i = 0; i < open; ++i) {
    status.Update(engine.CloseSession(absl::StrCat("fresh-", i)));
  }
  LCKV_RETURN_IF_ERROR(status);
  return times;
}

}  // namespace lckv
