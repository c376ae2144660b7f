#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/kv/page_layout.h"
#include "engine/ops/backend.h"
#include "engine/ops/page_copier.h"
#include "engine/runtime/engine.h"
#include "engine/runtime/page_staging.h"
#include "engine/runtime/step_loop.h"

namespace lckv {

// How pages come into the pool and leave it. Where the backend computes in host memory that is a
// matter of addresses. Elsewhere copies run beside the steps, through pinned staging pages of each
// direction: the step loop's thread only says which pages and after which of its work; whoever
// imports or exports waits on a thread of its own. Pages are checked where they land: in device
// memory by the device. Thread-safe.
class PageTraffic {
 public:
  struct Options {
    int64_t bytes_per_second = 0;  // of each direction; 0: no limit
    int64_t staging_bytes = 0;     // of each direction, about: two pages at least
    int64_t most_pages = 1;        // that are ever of use to one session
  };
  // RESOURCE_EXHAUSTED, INTERNAL. All must outlive it.
  static absl::StatusOr<std::unique_ptr<PageTraffic>> Create(Backend* backend,
                                                             const PageLayout* layout,
                                                             const Options& options);

  // Contracts in engine.h. `loop`: the one whose pages these are; not from its thread.
  absl::StatusOr<std::unique_ptr<PageImport>> ReserveImport(StepLoop* loop, int64_t num_pages);
  absl::StatusOr<SessionExport> Export(StepLoop* loop, absl::string_view session,
                                       int32_t first_page, int32_t max_pages);

 private:
  friend class PoolImport;

  PageTraffic(Backend* backend, const PageLayout* layout) : backend_(backend), layout_(layout) {}
  size_t page_bytes() const { return static_cast<size_t>(layout_->page_bytes()); }
  // Pages of a hold into `pages`.
  absl::Status CopyOut(const StepLoop& loop, const PageHold& hold, PageCopier::Mark after,
                       std::vector<std::vector<uint8_t>>& pages);
  absl::Status CopyOutStaged(const StepLoop& loop, const PageHold& hold, PageCopier::Mark after,
                             const std::vector<void*>& staged,
                             std::vector<std::vector<uint8_t>>& pages);

  Backend* const backend_;
  const PageLayout* const layout_;
  // How many of `pages` are, from the first on, what `crc32c` says. For imports whose copies are
  // complete.
  absl::StatusOr<int64_t> CountIntact(StepLoop& loop, absl::Span<const int32_t> pages,
                                      absl::Span<const uint32_t> crc32c);
  // The checksums of at most kPagesOfCheck pages, on the loop's thread.
  absl::Status Checksums(const StepLoop& loop, absl::Span<const int32_t> pages, uint32_t* crc32c);

  // Between two steps: few enough that no step waits long.
  static constexpr size_t kPagesOfCheck = 64;

  // Null where pages are host memory.
  DeviceBuffer check_addresses_, check_sums_;  // of kPagesOfCheck pages; the loop's thread
  std::unique_ptr<PageCopier> copier_;
  std::unique_ptr<PageStaging> staging_in_, staging_out_;
};

// A PageImport and what the engine makes of it.
class PoolImport final : public PageImport {
 public:
  PoolImport(PageTraffic* traffic, StepLoop* loop, std::vector<int32_t> pages,
             PageCopier::Mark after)
      : traffic_(traffic),
        loop_(loop),
        size_(pages.size()),
        pages_(std::move(pages)),
        after_(after) {}
  ~PoolImport() override;

  int64_t size() const override { return static_cast<int64_t>(size_); }
  absl::StatusOr<absl::Span<void* const>> Stage(int64_t max_pages, absl::Time deadline) override;
  absl::Status Landed(absl::Span<const uint32_t> crc32c) override;
  absl::StatusOr<int64_t> Finish() override;

  // Pages that have landed, intact or not (that shows in Finish).
  int64_t landed() const { return static_cast<int64_t>(landed_); }
  // For the loop's thread: gives the pages after the first `count` back; the rest is the caller's
  // to take. REQUIRES: finished.
  std::vector<int32_t>& KeepFirst(int64_t count);

 private:
  absl::Status Land(void* staged, uint32_t crc32c);
  void GiveBackStaged();

  PageTraffic* const traffic_;
  StepLoop* const loop_;
  const size_t size_;
  std::vector<int32_t> pages_;    // empty once the session has them
  const PageCopier::Mark after_;  // who had the pages before is done with them
  std::vector<void*> staged_;     // that have not landed, the next one first
  size_t landed_ = 0;
  std::vector<uint32_t> crc32c_;  // of those that have landed
  PageCopier::Ticket last_copy_ = 0;
  bool finished_ = false;
  int64_t intact_ = 0;  // once finished
};

}  // namespace lckv
