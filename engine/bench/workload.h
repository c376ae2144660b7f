#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "engine/runtime/engine.h"

namespace lckv {

// REQUIRES: not empty.
double Median(std::vector<double> values);

// Any valid ids will do: speed does not depend on them. The same for a seed everywhere.
std::vector<int32_t> SyntheticTokens(int64_t count, int32_t vocab_size, uint32_t seed);

// Notes when steps end. The time of a step is the time since the one before ended, so that it holds
// everything a user waits for: scheduling, forward pass, sampling, delivery.
class StepClock final : public EngineObserver {
 public:
  void OnStep(const StepStats& stats) override;

  // Seconds of each step so far that only decoded `rows` rows and followed another such step; then
  // forgets all.
  std::vector<double> TakeDecodeSteps(int rows);

 private:
  struct Step {
    StepStats stats;
    absl::Time end;
  };
  Mutex mu_;
  std::vector<Step> steps_ ABSL_GUARDED_BY(mu_);
};

struct TurnTimes {
  double seconds = 0;         // from the start to the last turn's end
  double encode_seconds = 0;  // to the first token of the last turn that got one
};

// Runs turns that all start together, once the engine has accepted every one, and waits for them.
// Their sessions are open. Errors: Engine::Submit's (those accepted are run), a turn's own,
// DEADLINE_EXCEEDED when one does not end.
absl::StatusOr<TurnTimes> RunTurns(Engine& engine, std::vector<TurnRequest> turns);

// `batch` new sessions with `prompt` input tokens each, `generate` tokens generated for each;
// closed in the end, also after an error.
struct FreshTurns {
  EncodePolicy policy;
  int32_t prompt = 1;
  int32_t generate = 1;
  int32_t batch = 1;
};
absl::StatusOr<TurnTimes> RunFresh(Engine& engine, const FreshTurns& fresh);

}  // namespace lckv
