#include "engine/bench/workload.h"

#include <algorithm>
#include <atomic>
#include <optional>
#include <thread>
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
constexpr size_t kMaxCallers = 256;

absl::StatusOr<TurnOutcome> WaitForOutcome(TurnStream& stream) {
  while (std::optional<TurnEvent> event = stream.PopWithTimeout(kEventTimeout)) {
    if (auto* outcome = std::get_if<TurnOutcome>(&*event)) {
      LCKV_RETURN_IF_ERROR(outcome->status);
      return *outcome;
    }
  }
  return absl::DeadlineExceededError("a turn did not end");
}

// Streams of the turns that were accepted; null where one was refused, whose status is in `errors`.
std::vector<std::shared_ptr<TurnStream>> SubmitAll(Engine& engine, std::vector<TurnRequest>& turns,
                                                   std::vector<absl::Status>& errors) {
  std::vector<std::shared_ptr<TurnStream>> streams(turns.size());
  std::atomic<size_t> next{0};
  const auto submit = [&] {
    for (size_t i = next.fetch_add(1); i < turns.size(); i = next.fetch_add(1)) {
      const auto capacity = static_cast<size_t>(turns[i].max_tokens) + 1;
      auto stream = std::make_shared<TurnStream>(capacity, nullptr);
      errors[i] = engine.Submit(std::move(turns[i]), stream);
      if (errors[i].ok()) streams[i] = std::move(stream);
    }
  };
  std::vector<std::thread> callers;
  for (size_t i = 1; i < std::min(turns.size(), kMaxCallers); ++i) callers.emplace_back(submit);
  submit();
  for (std::thread& caller : callers) caller.join();
  return streams;
}

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
  std::vector<absl::Status> errors(turns.size());
  const absl::Time begin = absl::Now();
  const std::vector<std::shared_ptr<TurnStream>> streams = SubmitAll(engine, turns, errors);
  TurnTimes times;
  absl::Status first_error;
  for (size_t i = 0; i < streams.size(); ++i) {
    absl::StatusOr<TurnOutcome> outcome = errors[i];
    if (streams[i] != nullptr) outcome = WaitForOutcome(*streams[i]);
    first_error.Update(outcome.status());
    if (!outcome.ok()) continue;
    times.encode_seconds =
        std::max(times.encode_seconds, outcome->queue_seconds + outcome->encode_seconds);
  }
  times.seconds = absl::ToDoubleSeconds(absl::Now() - begin);
  LCKV_RETURN_IF_ERROR(first_error);
  return times;
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
  absl::StatusOr<TurnTimes> times = status;
  if (status.ok()) times = RunTurns(engine, std::move(turns));
  for (size_t i = 0; i < open; ++i) {
    const absl::Status closed = engine.CloseSession(absl::StrCat("fresh-", i));
    if (times.ok() && !closed.ok()) times = closed;
  }
  return times;
}

}  // namespace lckv
