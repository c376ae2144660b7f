#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"

namespace lckv {

// Hands out page ids [0, capacity). Owns no page memory: the caller maps an id to bytes. Pages are
// counted references, so that sessions can share the pages of a common beginning. Not thread-safe:
// belongs to the step loop's thread. Invariant: free + referenced == capacity; the destructor
// checks that every page came back.
class PagePool {
 public:
  explicit PagePool(int64_t capacity_pages);  // REQUIRES: > 0
  ~PagePool();
  PagePool(const PagePool&) = delete;
  PagePool& operator=(const PagePool&) = delete;

  // All or nothing; each page has one reference. RESOURCE_EXHAUSTED (reason KV_POOL_FULL) if fewer
  // than `count` are free.
  absl::StatusOr<std::vector<int32_t>> Allocate(int64_t count);
  void AddReference(int32_t page);
  // Drops one reference; the last one frees the page.
  void Release(int32_t page);
  void Release(const std::vector<int32_t>& pages);

  int64_t capacity() const { return static_cast<int64_t>(references_.size()); }
  int64_t free_pages() const { return static_cast<int64_t>(free_.size()); }

 private:
  std::vector<int32_t> references_;
  std::vector<int32_t> free_;  // used from the back: the page freed last is warm
};

}  // namespace lckv
