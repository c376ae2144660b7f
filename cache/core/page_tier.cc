#include "cache/core/page_tier.h"

#include <utility>

namespace lckv {

PinnedPage PageTier::Find(const std::string& key) {
  MutexLock lock(mu_);
  const auto it = pages_.find(key);
  if (it == pages_.end()) return nullptr;
  order_.splice(order_.end(), order_, it->second.order);
  return it->second.page;
}

PinnedPage PageTier::Insert(const std::string& key, ArenaBlock block) {
  auto page = std::make_shared<const ArenaBlock>(std::move(block));
  MutexLock lock(mu_);
  const auto [it, inserted] = pages_.try_emplace(key);
  if (inserted) {
    it->second = {std::move(page), order_.insert(order_.end(), key)};
  } else {
    order_.splice(order_.end(), order_, it->second.order);
  }
  return it->second.page;
}

void PageTier::Erase(const std::string& key) {
  PinnedPage dropped;  // freed after the lock
  MutexLock lock(mu_);
  const auto it = pages_.find(key);
  if (it == pages_.end()) return;
  dropped = std::move(it->second.page);
  order_.erase(it->second.order);
  pages_.erase(it);
}

PinnedPage PageTier::EvictOne() {
  MutexLock lock(mu_);
  for (auto it = order_.begin(); it != order_.end(); ++it) {
    const auto entry = pages_.find(*it);
    // New pins come from this map only, under the lock: a count of 1 cannot grow meanwhile.
    if (entry->second.page.use_count() > 1) continue;
    PinnedPage page = std::move(entry->second.page);
    pages_.erase(entry);
    order_.erase(it);
    return page;
  }
  return nullptr;
}

absl::StatusOr<std::vector<ArenaBlock>> PageTier::Allocate(size_t count, uint64_t length_bytes) {
  while (true) {
    absl::StatusOr<std::vector<ArenaBlock>> blocks = arena_->Allocate(count, length_bytes);
    if (!absl::IsResourceExhausted(blocks.status())) return blocks;
    if (count > arena_->capacity_bytes() / length_bytes) return blocks;
    const PinnedPage evicted = EvictOne();
    if (evicted == nullptr) return blocks;
    observer_->OnEviction(evicted->extent().length_bytes);
  }
}

}  // namespace lckv
