#include "engine/runtime/page_staging.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "base/check.h"
#include "base/status_macros.h"

namespace lckv {

absl::StatusOr<std::unique_ptr<PageStaging>> PageStaging::Create(Backend* backend,
                                                                 PageCopier* copier,
                                                                 PageCopier::Direction direction,
                                                                 int64_t page_bytes,
                                                                 int64_t pages) {
  LCKV_CHECK(pages > 0);
  LCKV_ASSIGN_OR_RETURN(HostBuffer memory, backend->AllocateHost(static_cast<size_t>(pages) *
                                                                 static_cast<size_t>(page_bytes)));
  return std::unique_ptr<PageStaging>(
      new PageStaging(copier, direction, page_bytes, pages, std::move(memory)));
}

PageStaging::PageStaging(PageCopier* copier, PageCopier::Direction direction, int64_t page_bytes,
                         int64_t pages, HostBuffer memory)
    : copier_(copier), direction_(direction), num_pages_(pages), memory_(std::move(memory)) {
  for (int64_t page = pages - 1; page >= 0; --page) {
    free_.push_back(memory_.bytes() + page * page_bytes);
  }
}

absl::StatusOr<std::vector<void*>> PageStaging::Acquire(int64_t max_pages, absl::Time deadline) {
  const int64_t most = std::min(max_pages, std::max<int64_t>(num_pages_ / 4, 1));
  LCKV_CHECK(most > 0);
  MutexLock lock(mu_);
  for (;;) {
    if (static_cast<int64_t>(free_.size()) >= most) break;
    // Copies end soon; pages that others fill may take long.
    if (!copying_.empty()) {
      const PageCopier::Ticket ticket = FirstTicket();
      mu_.Unlock();
      const absl::Status status = copier_->Wait(direction_, ticket);
      mu_.Lock();
      LCKV_RETURN_IF_ERROR(status);
      Reclaim(ticket);
      continue;
    }
    if (!free_.empty()) break;
    const absl::Duration left = deadline - absl::Now();
    if (left <= absl::ZeroDuration()) {
      return absl::DeadlineExceededError("all staging pages are in use");
    }
    released_.WaitWithTimeout(mu_, left);
  }
  const auto count = static_cast<int64_t>(std::min(free_.size(), static_cast<size_t>(most)));
  std::vector<void*> pages(free_.end() - count, free_.end());
  free_.resize(free_.size() - static_cast<size_t>(count));
  return pages;
}

void PageStaging::Release(void* page) {
  MutexLock lock(mu_);
  free_.push_back(page);
  released_.NotifyAll();
}

void PageStaging::ReleaseAfter(void* page, PageCopier::Ticket ticket) {
  MutexLock lock(mu_);
  copying_.push_back({page, ticket});
  released_.NotifyAll();
}

PageCopier::Ticket PageStaging::FirstTicket() const {
  return std::min_element(copying_.begin(), copying_.end(),
                          [](const Copying& a, const Copying& b) { return a.ticket < b.ticket; })
      ->ticket;
}

void PageStaging::Reclaim(PageCopier::Ticket complete) {
  for (const Copying& copying : copying_) {
    if (copying.ticket <= complete) free_.push_back(copying.page);
  }
  std::erase_if(copying_, [complete](const Copying& c) { return c.ticket <= complete; });
  released_.NotifyAll();
}

}  // namespace lckv
