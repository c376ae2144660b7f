#pragma once

#include <grpcpp/grpcpp.h>
#include <grpcpp/support/server_callback.h>

#include <atomic>
#include <deque>
#include <optional>
#include <utility>

#include "base/check.h"
#include "base/mutex.h"

namespace lckv {

enum class WriteResult {
  kAccepted,
  kFull,  // the message was not taken: try again after OnWritten
  kGone,  // the client went away or the call was cancelled: nothing more will be sent
};

// The server's half of a streaming response: a queue of at most `capacity` messages (the one on the
// wire included), one write in flight, Finish exactly once.
//
// There is one producer at a time. It owns the right to touch the writer from construction until it
// calls End, and must call End also when the client has gone: gRPC calls OnDone, where a subclass
// frees the object, only after End. Its three hooks run on gRPC threads and must not block.
template <typename Response>
class StreamWriter : public grpc::ServerWriteReactor<Response> {
 public:
  // REQUIRES: capacity > 0.
  explicit StreamWriter(size_t capacity) : capacity_(capacity) { LCKV_CHECK(capacity > 0); }

  // Takes the message, or leaves it untouched. REQUIRES: End was not called.
  WriteResult TryWrite(Response&& message) {
    {
      MutexLock lock(mu_);
      LCKV_CHECK(!end_.has_value());
      if (cancelled()) return WriteResult::kGone;
      if (queue_.size() + (writing_ ? 1 : 0) >= capacity_) return WriteResult::kFull;
      if (writing_) {
        queue_.push_back(std::move(message));
        return WriteResult::kAccepted;
      }
      in_flight_ = std::move(message);
      writing_ = true;
    }
    // Outside the lock: gRPC may run OnWriteDone on this very thread.
    this->StartWrite(&in_flight_);
    return WriteResult::kAccepted;
  }

  // Ends the stream with `status` once the accepted messages are written, or at once when the
  // client is gone. The producer's last call: the writer may be destroyed before it returns.
  void End(grpc::Status status) {
    {
      MutexLock lock(mu_);
      LCKV_CHECK(!end_.has_value());
      end_ = std::move(status);
      if (writing_) return;  // OnWriteDone goes on
    }
    this->Finish(*end_);
  }

  // True once the client cancelled, its deadline passed, its connection broke or the server stops:
  // from the first write that fails at the latest.
  bool cancelled() const { return cancelled_.load(std::memory_order_acquire); }

 protected:
  // A write ended, so that there is room again (or TryWrite now says kGone). One that began before
  // End may still run during End, but the writer outlives it.
  virtual void OnWritten() {}
  // The call was cancelled. May run at the same time as everything else, End included: it only
  // wakes the producer.
  virtual void OnCancelled() {}

 private:
  void OnWriteDone(bool ok) final {
    bool ended = false;
    bool write = false;
    {
      MutexLock lock(mu_);
      ended = end_.has_value();
      if (!ok) {
        // gRPC tells of the cancel as well, but perhaps later.
        cancelled_.store(true, std::memory_order_release);
        queue_.clear();
      }
      write = !queue_.empty();
      if (write) {
        in_flight_ = std::move(queue_.front());
        queue_.pop_front();
      }
      writing_ = write;
    }
    if (write) this->StartWrite(&in_flight_);
    if (!ended) {
      OnWritten();
    } else if (!write) {
      this->Finish(*end_);
    }
  }

  void OnCancel() final {
    cancelled_.store(true, std::memory_order_release);
    OnCancelled();
  }

  const size_t capacity_;
  std::atomic<bool> cancelled_{false};
  // Owned by the write in flight while writing_ is true, by the producer otherwise.
  Response in_flight_;
  Mutex mu_;
  std::deque<Response> queue_ ABSL_GUARDED_BY(mu_);
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  // Written once under mu_, and read without it by the one thread that then calls Finish.
  std::optional<grpc::Status> end_;
};

}  // namespace lckv
