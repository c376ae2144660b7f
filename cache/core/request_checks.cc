#include "cache/core/request_checks.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "cache/image/manifest.h"

namespace lckv {
namespace {

constexpr uint32_t kDefaultLeaseMs = 10'000;
constexpr uint32_t kMaxLeaseMs = 60'000;

}  // namespace

absl::Duration LeaseTtl(uint32_t requested_ms) {
  return absl::Milliseconds(requested_ms == 0 ? kDefaultLeaseMs
                                              : std::min(requested_ms, kMaxLeaseMs));
}

absl::Status CheckAcquire(const v1::AcquireRequest& request) {
  LCKV_RETURN_IF_ERROR(ValidateSessionName(request.tenant(), request.session_id()));
  LCKV_RETURN_IF_ERROR(ValidateWorkerId("worker_id", request.worker_id()));
  if (!v1::EncodePolicy::Mode_IsValid(request.encode().mode())) {
    return absl::InvalidArgumentError("encode.mode: unknown");
  }
  if (request.encode().passes() > kMaxManifestPasses) {
    return absl::InvalidArgumentError(absl::StrCat("encode.passes: over ", kMaxManifestPasses));
  }
  if (!v1::Durability_IsValid(request.durability())) {
    return absl::InvalidArgumentError("durability: unknown");
  }
  return absl::OkStatus();
}

absl::Status CheckReserve(const v1::ReserveRequest& request, uint32_t max_pages) {
  LCKV_RETURN_IF_ERROR(ValidateSessionName(request.tenant(), request.session_id()));
  if (request.pages() == 0 || request.pages() > max_pages) {
    return absl::InvalidArgumentError(
        absl::StrCat("pages: ", request.pages(), " is not in 1 to ", max_pages));
  }
  return ValidatePageBytes(request.page_bytes());
}

absl::Status CheckCommit(const v1::CommitRequest& request) {
  LCKV_RETURN_IF_ERROR(ValidateManifest(request.manifest()));
  const auto& positions = request.page_positions();
  if (!positions.empty() && request.reservation() == 0) {
    return absl::InvalidArgumentError("page_positions: without a reservation");
  }
  for (int i = 0; i < positions.size(); ++i) {
    if (positions[i] >= static_cast<uint32_t>(request.manifest().pages_size())) {
      return absl::InvalidArgumentError(
          absl::StrCat("page_positions[", i, "]: ", positions[i], " is no page of the manifest"));
    }
    if (i > 0 && positions[i] <= positions[i - 1]) {
      return absl::InvalidArgumentError(absl::StrCat("page_positions[", i, "]: not ascending"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckList(const v1::ListRequest& request) {
  if (request.page_token().empty()) {
    // Any session id will do: only the tenant is looked at.
    return ValidateSessionName(request.tenant(), "any");
  }
  return Annotate(ValidateSessionName(request.tenant(), request.page_token()), "page_token");
}

}  // namespace lckv
