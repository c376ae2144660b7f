#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "services/worker/turn_plan.h"
#include "services/worker/turn_runner.h"

namespace lckv::worker {

// One attempt at a turn, from the session's claim to the last frame. Used once, by one thread.
class Turn {
 public:
  Turn(const TurnParts& parts, const TurnRunnerOptions& options,
       const v1::WorkerGenerateRequest& request, const TurnArrival& arrival,
       const TracePosition& trace, TurnControl& control, FrameSink& sink);

  absl::Status Run();
  // Filled as far as the turn came.
  const v1::TurnResult& result() const { return result_; }

 private:
  // The session's claim; its lease, and its manifest if it is cold.
  absl::Status TakeSession();
  absl::Status TakeClaimAndLease();
  // Afterwards the session is hot and the input known, or the turn, committed already, is
  // `answered`.
  absl::Status Prepare(bool* answered);
  absl::Status PlanTurn();
  absl::Status OpenCold();
  void GiveBackCold();
  absl::Status AnswerRepeat();
  // Submits what is left of the turn; afterwards `outcome_` is set or the engine runs.
  absl::Status Start();
  absl::Status Submit(TurnRequest request);
  // Delivers tokens until the outcome is there.
  void Deliver();
  void Accept(int32_t token);
  bool SendPending();
  // Commits, cuts or hands the session over, as the outcome and the client's fate demand.
  absl::Status Conclude();
  absl::Status ConcludeDrained();
  absl::Status Commit(FinishReason reason);
  absl::Status CommitManifest(const v1::Manifest& next);
  absl::Status CommitFailed(const absl::Status& status, v1::Manifest next);
  absl::Status CutBack(int32_t tokens);
  void FillResult(FinishReason reason);
  absl::Status StopStatus() const;
  void SendFirstFrame();

  HotSession& session() { return claim_->session(); }
  int32_t committed() const { return static_cast<int32_t>(head_.committed_tokens()); }

  const TurnParts& parts_;
  const TurnRunnerOptions& options_;
  const v1::WorkerGenerateRequest& request_;
  const TurnArrival& arrival_;
  const TracePosition trace_;  // of the turn
  TurnControl& control_;
  FrameSink& sink_;

  const SessionKey key_;
  const int32_t max_tokens_;
  const uint64_t seed_;
  const std::vector<int32_t> stop_tokens_;
  std::optional<SessionClaim> claim_;
  std::optional<AcquiredSession> acquired_;  // of a cold session, until it is open
  bool was_hot_ = false;
  v1::Manifest head_;  // before the turn

  AttemptKind kind_ = AttemptKind::kFresh;
  std::vector<int32_t> input_;
  int32_t turn_begin_ = 0;  // transcript position of the first input token
  int32_t input_tokens_ = 0;
  Opening opening_;
  RestoreReport restore_;
  std::vector<int32_t> generated_;    // of this turn, resumed ones included
  size_t delivered_ = 0;              // of those: the client has them
  std::vector<int32_t> pending_ids_;  // the next frame
  std::string pending_text_;

  IncrementalDetokenizer detokenizer_;
  std::shared_ptr<TurnStream> stream_;  // null: nothing was submitted
  std::optional<TurnOutcome> outcome_;
  absl::Time picked_up_;
  absl::Time submitted_;
  absl::Time last_token_ = absl::InfinitePast();
  v1::TurnResult result_;
};

}  // namespace lckv::worker
