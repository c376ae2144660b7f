#pragma once

#include <grpcpp/alarm.h>
#include <grpcpp/grpcpp.h>

#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "lckv/v1/worker.grpc.pb.h"
#include "services/common/stream_writer.h"
#include "services/common/tracing/span.h"
#include "services/gateway/admission.h"
#include "services/gateway/gateway_metrics.h"
#include "services/gateway/relay_policy.h"
#include "services/gateway/stall_monitor.h"
#include "services/gateway/worker_directory.h"
#include "services/gateway/worker_stream.h"

namespace lckv::gateway {

// What all relays share; outlives them.
struct RelayContext {
  WorkerDirectory* directory;
  StallMonitor* stalls;
  GatewayMetrics* metrics;
  Clock* clock;
  RelayLimits limits;
};

// One turn: the client's stream on one side, calls of Worker.Generate, one after the other, on the
// other. Keeps the ids of the tokens it relayed, and with them continues a broken stream on another
// worker (relay_policy.h says when). A frame is read only when the one before is with the client,
// so a slow client slows the worker down.
//
// The relay is one chain of events: route -> start -> frame -> write -> frame ... -> end -> (wait)
// -> route. Exactly one link is pending at any time, so the state below needs no lock; only a
// cancel comes from outside, and it does no more than cancel the pending link. Deletes itself when
// gRPC is done with it.
class TurnRelay final : public StreamWriter<v1::GenerateResponse>, private WorkerStream::Listener {
 public:
  // `method`: "Generate" or "Chat", for the metrics. `turn`: the client's call. `request` has
  // session id, turn id, seed and max_tokens set. The client's stream ends at `deadline` at the
  // latest.
  TurnRelay(const RelayContext& context, absl::string_view method, Admission::Slot slot, Span turn,
            absl::Time deadline, v1::WorkerGenerateRequest request);
  // Begins the chain. Once.
  void Start();

 private:
  ~TurnRelay() override;

  // The links of the chain.
  void RouteAndCall();
  void Call(const Route& route);
  void OnFrame(v1::GenerateResponse& frame) override;
  void OnWritten() override;
  void OnEnd(const grpc::Status& status) override;
  void WaitThenRoute(absl::Duration delay);
  void Conclude(const grpc::Status& status);

  // Says in `span` why it chose as it did.
  absl::StatusOr<Route> ChooseRoute(Span& span);
  void Follow(const RelayDecision& decision);
  // Takes what the client must get exactly once out of a frame. False when nothing is left to send.
  bool AdaptFrame(v1::GenerateResponse& frame);
  void Observe(const v1::GenerateResponse& frame);
  void StartCallSpan(const Route& route);
  void DescribeDone(const v1::TurnResult& done);
  void EndTurnSpan(const grpc::Status& status);

  // Anywhere, at any time.
  void OnCancelled() override;
  void OnDone() override;

  // Constant.
  const RelayContext context_;
  const std::string method_;
  const absl::Time start_;
  const absl::Time deadline_;
  const uint32_t max_tokens_;

  // Belongs to the chain.
  Span turn_;
  Span call_;  // the call in progress
  const Admission::Slot slot_;
  v1::WorkerGenerateRequest request_;  // resume_from: the tokens relayed so far
  TurnHistory history_;
  AttemptEnd attempt_;                   // the call in progress; its status is set at its end
  RelayDecision next_;                   // where the next call goes
  grpc::Status worker_status_;           // as the last call ended
  std::optional<grpc::Status> refused_;  // the worker broke the protocol: what the client gets
  bool first_frame_sent_ = false;
  absl::Time last_token_;

  // Lock order: none is taken while mu_ is held.
  Mutex mu_;
  std::shared_ptr<WorkerStream> stream_ ABSL_GUARDED_BY(mu_);
  std::optional<grpc::Alarm> alarm_ ABSL_GUARDED_BY(mu_);
};

}  // namespace lckv::gateway
