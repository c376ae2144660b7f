#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "engine/ops/backend.h"
#include "engine/ops/page_copier.h"

namespace lckv {

// Pinned host pages through which KV pages come and go: one region, allocated at start, whose
// pages are handed out again and again (so that a data plane may register it once). Thread-safe.
class PageStaging {
 public:
  // RESOURCE_EXHAUSTED: no pinned memory. REQUIRES: pages > 0. `backend` and `copier` must outlive
  // it. `direction`: of the copies that ReleaseAfter waits for.
  static absl::StatusOr<std::unique_ptr<PageStaging>> Create(Backend* backend, PageCopier* copier,
                                                             PageCopier::Direction direction,
                                                             int64_t page_bytes, int64_t pages);

  // At least one page, at most `max_pages` and a quarter of all (so that one restore does not keep
  // the others out). Waits for copies under way if that gets more, and until `deadline` for a page
  // if others fill all of them.
  // DEADLINE_EXCEEDED; INTERNAL: the device is lost.
  absl::StatusOr<std::vector<void*>> Acquire(int64_t max_pages, absl::Time deadline);
  // The page can be used again at once, or when the copy that it is part of is complete.
  void Release(void* page);
  void ReleaseAfter(void* page, PageCopier::Ticket ticket);

  int64_t num_pages() const { return num_pages_; }

 private:
  struct Copying {
    void* page;
    PageCopier::Ticket ticket;
  };
  PageStaging(PageCopier* copier, PageCopier::Direction direction, int64_t page_bytes,
              int64_t pages, HostBuffer memory);
  PageCopier::Ticket FirstTicket() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Reclaim(PageCopier::Ticket complete) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  PageCopier* const copier_;
  const PageCopier::Direction direction_;
  const int64_t num_pages_;
  const HostBuffer memory_;
  Mutex mu_;
  CondVar released_;
  std::vector<void*> free_ ABSL_GUARDED_BY(mu_);
  std::vector<Copying> copying_ ABSL_GUARDED_BY(mu_);
};

}  // namespace lckv
