#include "services/gateway/admission.h"

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/check.h"
#include "base/error_info.h"

namespace lckv::gateway {
namespace {

constexpr absl::Duration kRetryAfter = absl::Seconds(1);

}  // namespace

Admission::Admission(int max_turns) : max_turns_(max_turns) { LCKV_CHECK(max_turns > 0); }

Admission::~Admission() { LCKV_CHECK(turns() == 0); }

absl::StatusOr<Admission::Slot> Admission::TryEnter() {
  MutexLock lock(mu_);
  if (closed_) {
    return WithRetryAfter(WithErrorInfo(absl::UnavailableError("the gateway is shutting down"),
                                        {kReasonDraining, {}}),
                          kRetryAfter);
  }
  if (turns_ >= max_turns_) {
    const std::string message = absl::StrCat("all ", max_turns_, " turns of the gateway are taken");
    return WithRetryAfter(
        WithErrorInfo(absl::ResourceExhaustedError(message), {kReasonQueueFull, {}}), kRetryAfter);
  }
  ++turns_;
  return Slot(this);
}

void Admission::Close() {
  MutexLock lock(mu_);
  closed_ = true;
}

bool Admission::WaitIdle(absl::Time deadline) {
  MutexLock lock(mu_);
  while (turns_ > 0) {
    const absl::Duration left = deadline - absl::Now();
    if (left <= absl::ZeroDuration()) return false;
    idle_.WaitWithTimeout(mu_, left);
  }
  return true;
}

int Admission::turns() const {
  MutexLock lock(mu_);
  return turns_;
}

void Admission::Leave() {
  MutexLock lock(mu_);
  --turns_;
  // Under the lock: once the last turn is out, the admission may be destroyed.
  if (turns_ == 0) idle_.NotifyAll();
}

}  // namespace lckv::gateway
