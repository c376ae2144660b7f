#pragma once

#include <grpcpp/grpcpp.h>
#include <grpcpp/support/client_callback.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/time/time.h"
#include "base/clock.h"
#include "lckv/v1/worker.grpc.pb.h"
#include "services/common/trace_context.h"

namespace lckv::gateway {

// One call of Worker.Generate, read one frame at a time: each Next is answered by exactly one
// OnFrame or, once and for all, by OnEnd, on a gRPC thread (possibly before Next returns). The
// listener must outlive the answer; it is not touched after OnEnd.
class WorkerStream final : private grpc::ClientReadReactor<v1::GenerateResponse> {
 public:
  class Listener {
   public:
    virtual void OnFrame(v1::GenerateResponse& frame) = 0;
    virtual void OnEnd(const grpc::Status& status) = 0;

   protected:
    ~Listener() = default;
  };

  // `clock` must outlive the stream.
  static std::shared_ptr<WorkerStream> Make(std::shared_ptr<v1::Worker::Stub> stub,
                                            std::string worker, Listener* listener, Clock* clock);
  // Begins the call and asks for the first frame. `self` is this stream: it keeps itself alive
  // until the end. REQUIRES: not started before.
  void Start(std::shared_ptr<WorkerStream> self, v1::WorkerGenerateRequest request,
             const TraceContext& trace, absl::Time deadline);
  // Asks for the next frame. REQUIRES: no frame is asked for already.
  void Next();

  // Ends the call early: the pending or next Next is answered by OnEnd. Thread-safe, may come at
  // any time, also before Start.
  void Cancel();
  // As Cancel, and remembers that the worker was at fault.
  void CancelStalled();

  const std::string& worker() const { return worker_; }
  bool stalled() const { return stalled_.load(std::memory_order_acquire); }
  // Since when, by `clock`, the listener has been waiting for a frame; InfiniteFuture while it is
  // not.
  // Thread-safe.
  absl::Time waiting_since() const;

 private:
  WorkerStream(std::shared_ptr<v1::Worker::Stub> stub, std::string worker, Listener* listener,
               Clock* clock);

  void OnReadDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;

  const std::shared_ptr<v1::Worker::Stub> stub_;
  const std::string worker_;
  Listener* const listener_;
  Clock* const clock_;
  v1::WorkerGenerateRequest request_;
  grpc::ClientContext context_;
  v1::GenerateResponse frame_;          // owned by the read in flight, or by OnFrame
  std::shared_ptr<WorkerStream> self_;  // from Start to OnDone
  std::atomic<bool> stalled_{false};
  std::atomic<int64_t> waiting_since_us_{kNotWaiting};
  static constexpr int64_t kNotWaiting = INT64_MAX;
};

}  // namespace lckv::gateway
