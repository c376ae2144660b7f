#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "lckv/v1/cache.pb.h"

namespace lckv {

// What can be said about a request from itself alone. Pure; INVALID_ARGUMENT names the field.
absl::Status CheckAcquire(const v1::AcquireRequest& request);
absl::Status CheckReserve(const v1::ReserveRequest& request, uint32_t max_pages);
// Manifest valid; page_positions ascending, inside manifest.pages, and none without a reservation.
absl::Status CheckCommit(const v1::CommitRequest& request);
absl::Status CheckList(const v1::ListRequest& request);

// The lease time that is granted: 10 s for 0, at most 60 s.
absl::Duration LeaseTtl(uint32_t requested_ms);

}  // namespace lckv
