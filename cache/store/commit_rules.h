#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "lckv/v1/cache.pb.h"

namespace lckv {

// What a commit does to a session's record and pages.
struct CommitPlan {
  v1::Manifest manifest;                  // to store
  std::vector<uint32_t> pages_to_store;   // indices into `written`
  std::vector<v1::PageEntry> superseded;  // stored pages that `manifest` does not name
};

// Decides a commit: pure. `stored` is the session's record, `proposed` a valid manifest under the
// current epoch, `written` the positions in proposed.pages whose bytes came with it, ascending.
//
// - The version stays (a checkpoint of a turn in progress, a page push, a repeated attempt) or
// grows
//   by one. On the same version committed_tokens stays what it is; it never shrinks. The stored
//   committed transcript is a prefix of the proposed one. Else ABORTED (VERSION_CONFLICT with
//   metadata "version" = the stored one).
// - A page that is neither written now nor stored already (same model, page shape, index, tokens,
//   checksum) is dropped from the manifest together with all after it.
// - The session's policies (encode, durability) and its creation time stay what they were.
absl::StatusOr<CommitPlan> PlanCommit(const v1::Manifest& stored, v1::Manifest proposed,
                                      absl::Span<const uint32_t> written);

}  // namespace lckv
