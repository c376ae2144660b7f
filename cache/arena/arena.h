#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "base/mutex.h"

namespace lckv {

class Arena;

// The address of a block as peers see it. Never trusted when it comes back: Arena::Resolve.
struct ArenaExtent {
  uint64_t region = 0;      // of this arena: differs after a restart
  uint64_t generation = 0;  // of this allocation: never used twice
  uint64_t offset_bytes = 0;
  uint64_t length_bytes = 0;

  bool operator==(const ArenaExtent& other) const {
    return region == other.region && generation == other.generation &&
           offset_bytes == other.offset_bytes && length_bytes == other.length_bytes;
  }
};

// Owns one block of an arena and gives it back when destroyed. Movable; empty when moved from or
// default-made. Who holds the block decides who may touch its bytes.
class ArenaBlock {
 public:
  ArenaBlock() = default;
  ArenaBlock(ArenaBlock&& other) noexcept { *this = std::move(other); }
  ArenaBlock& operator=(ArenaBlock&& other) noexcept;
  ~ArenaBlock() { Reset(); }

  bool empty() const { return arena_ == nullptr; }
  const ArenaExtent& extent() const { return extent_; }
  absl::Span<char> bytes() { return {data_, static_cast<size_t>(extent_.length_bytes)}; }
  absl::Span<const char> bytes() const {
    return {data_, static_cast<size_t>(extent_.length_bytes)};
  }
  void Reset();

 private:
  friend class Arena;
  ArenaBlock(Arena* arena, const ArenaExtent& extent, char* data)
      : arena_(arena), extent_(extent), data_(data) {}

  Arena* arena_ = nullptr;
  ArenaExtent extent_;
  char* data_ = nullptr;
};

// The cache node's page memory: one mapping made at start, handed out in multiples of 4 KiB. It
// never grows. Best fit: the smallest free run that is large enough, the lowest of equals; freed
// neighbours merge. New blocks hold old bytes. Thread-safe; outlives its blocks (checked).
//
// Invariant: free runs and live blocks tile [0, capacity), and no two free runs touch.
class Arena {
 public:
  // REQUIRES: nothing of `capacity_bytes`: it is rounded down to 4 KiB; INVALID_ARGUMENT if that is
  // 0. RESOURCE_EXHAUSTED: the machine has not that much address space. `populate` touches every
  // page now instead of when it is first used.
  static absl::StatusOr<std::unique_ptr<Arena>> Create(uint64_t capacity_bytes, bool populate);
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // `count` blocks of `length_bytes` each, all or nothing. RESOURCE_EXHAUSTED: no room.
  // INVALID_ARGUMENT: a length that is not a positive multiple of 4 KiB.
  absl::StatusOr<std::vector<ArenaBlock>> Allocate(size_t count, uint64_t length_bytes);

  // Whether `extent` is exactly a live block of this arena.
  bool IsLive(const ArenaExtent& extent) const;

  uint64_t capacity_bytes() const { return capacity_bytes_; }
  uint64_t used_bytes() const;
  size_t live_blocks() const;
  // TEST_: the invariant above, in linear time.
  bool TEST_Consistent() const;

 private:
  friend class ArenaBlock;
  struct LiveBlock {
    uint64_t length_bytes;
    uint64_t generation;
  };

  Arena(char* base, uint64_t capacity_bytes, uint64_t region);
  void Free(const ArenaExtent& extent);
  void AddFree(uint64_t offset, uint64_t length) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void RemoveFree(uint64_t offset, uint64_t length) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void FreeLocked(uint64_t offset, uint64_t length) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  char* const base_;
  const uint64_t capacity_bytes_;
  const uint64_t region_;

  mutable Mutex mu_;
  std::map<uint64_t, uint64_t> free_by_offset_ ABSL_GUARDED_BY(mu_);             // offset -> length
  std::set<std::pair<uint64_t, uint64_t>> free_by_length_ ABSL_GUARDED_BY(mu_);  // length, offset
  std::map<uint64_t, LiveBlock> live_ ABSL_GUARDED_BY(mu_);                      // by offset
  uint64_t used_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t next_generation_ ABSL_GUARDED_BY(mu_) = 1;
};

}  // namespace lckv
