#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/mutex.h"
#include "cache/arena/arena.h"
#include "cache/core/cache_observer.h"

namespace lckv {

// A published page in the arena: never written again. Whoever holds the pointer pins it.
using PinnedPage = std::shared_ptr<const ArenaBlock>;

// The memory tier: published pages by their storage key, least recently used first to go. Only
// pages that nobody has pinned are evicted; everything in it is in storage too, so that eviction
// loses nothing. Thread-safe; destroy it before the arena, and pins before it.
class PageTier {
 public:
  // Keeps pointers to `arena` and `observer`.
  PageTier(Arena* arena, CacheObserver* observer) : arena_(arena), observer_(observer) {}
  PageTier(const PageTier&) = delete;
  PageTier& operator=(const PageTier&) = delete;

  // The page, now the most recently used, or null.
  PinnedPage Find(const std::string& key);
  // Takes a filled block. When the key is there already its page is returned and `block` is freed.
  PinnedPage Insert(const std::string& key, ArenaBlock block);
  // Forgets the page; its memory is freed with its last pin.
  void Erase(const std::string& key);

  // Blocks from the arena, evicting as needed. RESOURCE_EXHAUSTED: what is pinned or being written
  // leaves too little room (pages may have been evicted nevertheless).
  absl::StatusOr<std::vector<ArenaBlock>> Allocate(size_t count, uint64_t length_bytes);

 private:
  struct Entry {
    PinnedPage page;
    std::list<std::string>::iterator order;
  };

  // The least recently used page without a pin, removed from the tier; null when all are pinned.
  PinnedPage EvictOne();

  Arena* const arena_;
  CacheObserver* const observer_;
  Mutex mu_;
  std::unordered_map<std::string, Entry> pages_ ABSL_GUARDED_BY(mu_);
  std::list<std::string> order_ ABSL_GUARDED_BY(mu_);  // least recently used first
};

}  // namespace lckv
