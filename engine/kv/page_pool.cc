#include "engine/kv/page_pool.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/error_info.h"

namespace lckv {

PagePool::PagePool(int64_t capacity_pages)
    : references_(static_cast<size_t>(capacity_pages), 0), free_(references_.size()) {
  LCKV_CHECK(capacity_pages > 0 && capacity_pages <= INT32_MAX);
  for (size_t i = 0; i < free_.size(); ++i) free_[i] = static_cast<int32_t>(free_.size() - 1 - i);
}

PagePool::~PagePool() { LCKV_CHECK(free_pages() == capacity()); }

absl::StatusOr<std::vector<int32_t>> PagePool::Allocate(int64_t count) {
  LCKV_CHECK(count >= 0);
  if (count > free_pages()) {
    return WithErrorInfo(
        absl::ResourceExhaustedError(absl::StrCat("KV pool: ", count, " pages needed, ",
                                                  free_pages(), " of ", capacity(), " free")),
        {kReasonPoolFull, {}});
  }
  std::vector<int32_t> pages;
  pages.reserve(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    pages.push_back(free_.back());
    free_.pop_back();
    references_[static_cast<size_t>(pages.back())] = 1;
  }
  return pages;
}

void PagePool::AddReference(int32_t page) {
  int32_t& count = references_[static_cast<size_t>(page)];
  LCKV_CHECK(count > 0);
  ++count;
}

void PagePool::Release(int32_t page) {
  int32_t& count = references_[static_cast<size_t>(page)];
  LCKV_CHECK(count > 0);
  if (--count == 0) free_.push_back(page);
}

void PagePool::Release(const std::vector<int32_t>& pages) {
  for (int32_t page : pages) Release(page);
}

}  // namespace lckv
