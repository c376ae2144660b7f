#pragma once

#include <functional>
#include <thread>

#include "absl/time/time.h"
#include "base/mutex.h"

namespace lckv::worker {

// A thread that calls a function every `interval`, until it is stopped. The function may take
// longer; calls never overlap.
class Periodic {
 public:
  Periodic(absl::Duration interval, std::function<void()> function);
  ~Periodic() { Stop(); }
  Periodic(const Periodic&) = delete;
  Periodic& operator=(const Periodic&) = delete;

  // Waits for a call in progress. Safe to repeat.
  void Stop();

 private:
  void Main(absl::Duration interval, const std::function<void()>& function);

  Mutex mu_;
  CondVar wake_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;
};

}  // namespace lckv::worker
