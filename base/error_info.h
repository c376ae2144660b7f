#pragma once

// Machine-readable details of an error, carried as payloads of absl::Status.
// rpc/status_conversion.h turns them into google.rpc.ErrorInfo and RetryInfo on the
// wire and back.

#include <map>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace lckv {

struct ErrorInfo {
  std::string reason;                           // UPPER_SNAKE_CASE, e.g. "LEASE_HELD"
  std::map<std::string, std::string> metadata;  // e.g. {"holder", "worker-1"}
};

// Reasons that programs react to. Contracts: never rename.
inline constexpr char kReasonLeaseHeld[] = "LEASE_HELD";              // ABORTED; metadata "holder"
inline constexpr char kReasonStaleEpoch[] = "STALE_EPOCH";            // ABORTED
inline constexpr char kReasonVersionConflict[] = "VERSION_CONFLICT";  // ABORTED; metadata "version"
inline constexpr char kReasonQueueFull[] = "QUEUE_FULL";              // RESOURCE_EXHAUSTED
inline constexpr char kReasonPoolFull[] = "KV_POOL_FULL";             // RESOURCE_EXHAUSTED
inline constexpr char kReasonDraining[] = "DRAINING";                 // UNAVAILABLE
inline constexpr char kReasonNoWorker[] = "NO_WORKER";                // UNAVAILABLE
inline constexpr char kReasonFingerprint[] = "FINGERPRINT_MISMATCH";  // FAILED_PRECONDITION
inline constexpr char kReasonContextFull[] = "CONTEXT_FULL";          // OUT_OF_RANGE
inline constexpr char kReasonCacheUnavailable[] = "CACHE_NODE_UNAVAILABLE";  // UNAVAILABLE
// ABORTED: a turn of the session is running.
inline constexpr char kReasonSessionBusy[] = "SESSION_BUSY";
// FAILED_PRECONDITION: the session's KV has other numerics, and the worker's policy refuses it.
inline constexpr char kReasonNumerics[] = "NUMERICS_MISMATCH";

// `status` with the details attached. REQUIRES: !status.ok().
absl::Status WithErrorInfo(absl::Status status, const ErrorInfo& info);
absl::Status WithRetryAfter(absl::Status status, absl::Duration delay);

std::optional<ErrorInfo> GetErrorInfo(const absl::Status& status);
// The reason, or "" when there is none.
std::string ErrorReason(const absl::Status& status);
std::optional<absl::Duration> GetRetryAfter(const absl::Status& status);

}  // namespace lckv
