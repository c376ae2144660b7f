#include "cache/store/commit_rules.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error_info.h"
#include "base/status_macros.h"
#include "cache/image/manifest.h"

namespace lckv {
namespace {

absl::Status Conflict(const v1::Manifest& stored, absl::string_view what) {
  return WithErrorInfo(
      absl::AbortedError(absl::StrCat("session is at version ", stored.version(), ": ", what)),
      {kReasonVersionConflict, {{"version", absl::StrCat(stored.version())}}});
}

absl::Status CheckVersion(const v1::Manifest& stored, const v1::Manifest& proposed) {
  const bool same = proposed.version() == stored.version();
  if (!same && proposed.version() != stored.version() + 1) {
    return Conflict(stored, absl::StrCat("cannot become ", proposed.version()));
  }
  if (proposed.committed_tokens() < stored.committed_tokens()) {
    return Conflict(stored, "committed_tokens shrank");
  }
  if (same && proposed.committed_tokens() != stored.committed_tokens()) {
    return Conflict(stored, "committed_tokens grew without a new version");
  }
  const auto committed = static_cast<std::ptrdiff_t>(stored.committed_tokens());
  if (!std::equal(stored.tokens().begin(), stored.tokens().begin() + committed,
                  proposed.tokens().begin())) {
    return Conflict(stored, "the committed transcript differs");
  }
  return absl::OkStatus();
}

bool SameContents(const v1::PageEntry& a, const v1::PageEntry& b) {
  return a.index() == b.index() && a.tokens() == b.tokens() && a.crc32c() == b.crc32c();
}

bool PagesComparable(const v1::Manifest& a, const v1::Manifest& b) {
  return a.fingerprint() == b.fingerprint() && a.tokens_per_page() == b.tokens_per_page() &&
         a.page_bytes() == b.page_bytes();
}

}  // namespace

absl::StatusOr<CommitPlan> PlanCommit(const v1::Manifest& stored, v1::Manifest proposed,
                                      absl::Span<const uint32_t> written) {
  LCKV_RETURN_IF_ERROR(CheckVersion(stored, proposed));
  CommitPlan plan;
  const bool comparable = PagesComparable(stored, proposed);
  const auto is_stored = [&](int i) {
    return comparable && i < stored.pages_size() &&
           SameContents(stored.pages(i), proposed.pages(i));
  };
  size_t next_written = 0;
  int kept = 0;
  for (; kept < proposed.pages_size(); ++kept) {
    if (next_written < written.size() && written[next_written] == static_cast<uint32_t>(kept)) {
      plan.pages_to_store.push_back(static_cast<uint32_t>(next_written++));
    } else if (!is_stored(kept)) {
      break;
    }
  }
  // Looked at before the cut: what is dropped from the manifest is superseded as well.
  for (int i = 0; i < stored.pages_size(); ++i) {
    const bool named = i < kept && SameContents(stored.pages(i), proposed.pages(i));
    if (!named) plan.superseded.push_back(stored.pages(i));
  }
  TruncatePages(proposed, kept);
  *proposed.mutable_encode() = stored.encode();
  proposed.set_durability(stored.durability());
  proposed.set_created_unix_ms(stored.created_unix_ms());
  plan.manifest = std::move(proposed);
  return plan;
}

}  // namespace lckv
