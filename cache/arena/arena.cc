#include "cache/arena/arena.h"

#include <sys/mman.h>

#include <cerrno>
#include <iterator>
#include <random>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace lckv {
namespace {

constexpr uint64_t kGrainBytes = 4096;

// Differs from one process to the next, so that extents from before a restart are not taken for
// ours.
uint64_t NewRegion() {
  std::random_device device;
  const uint64_t region = uint64_t{device()} << 32 | device();
  return region == 0 ? 1 : region;
}

}  // namespace

ArenaBlock& ArenaBlock::operator=(ArenaBlock&& other) noexcept {
  if (this == &other) return *this;
  Reset();
  arena_ = std::exchange(other.arena_, nullptr);
  extent_ = std::exchange(other.extent_, ArenaExtent());
  data_ = std::exchange(other.data_, nullptr);
  return *this;
}

void ArenaBlock::Reset() {
  if (arena_ == nullptr) return;
  arena_->Free(extent_);
  arena_ = nullptr;
  extent_ = ArenaExtent();
  data_ = nullptr;
}

absl::StatusOr<std::unique_ptr<Arena>> Arena::Create(uint64_t capacity_bytes, bool populate) {
  const uint64_t capacity = capacity_bytes / kGrainBytes * kGrainBytes;
  if (capacity == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("arena: ", capacity_bytes, " bytes is less than one page of ", kGrainBytes));
  }
  const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | (populate ? MAP_POPULATE : 0);
  void* base = mmap(nullptr, capacity, PROT_READ | PROT_WRITE, flags, -1, 0);
  if (base == MAP_FAILED) {
    return absl::ResourceExhaustedError(
        absl::StrCat("arena: mmap of ", capacity, " bytes failed, errno ", errno));
  }
  // A wish: kernels without huge pages say no, and that is fine.
  (void)madvise(base, capacity, MADV_HUGEPAGE);
  return std::unique_ptr<Arena>(new Arena(static_cast<char*>(base), capacity, NewRegion()));
}

Arena::Arena(char* base, uint64_t capacity_bytes, uint64_t region)
    : base_(base), capacity_bytes_(capacity_bytes), region_(region) {
  MutexLock lock(mu_);
  AddFree(0, capacity_bytes);
}

Arena::~Arena() {
  LCKV_CHECK(live_blocks() == 0);
  munmap(base_, capacity_bytes_);
}

absl::StatusOr<std::vector<ArenaBlock>> Arena::Allocate(size_t count, uint64_t length_bytes) {
  if (length_bytes == 0 || length_bytes % kGrainBytes != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "arena: ", length_bytes, " bytes is not a positive multiple of ", kGrainBytes));
  }
  const auto full = [&] {
    return absl::ResourceExhaustedError(
        absl::StrCat("arena: no room for ", count, " blocks of ", length_bytes, " bytes"));
  };
  if (count > capacity_bytes_ / length_bytes) return full();
  std::vector<ArenaBlock> blocks;  // destroyed after the lock is gone: what it holds is freed then
  blocks.reserve(count);
  MutexLock lock(mu_);
  for (size_t i = 0; i < count; ++i) {
    const auto fit = free_by_length_.lower_bound({length_bytes, 0});
    if (fit == free_by_length_.end()) break;
    const auto [run_length, offset] = *fit;
    RemoveFree(offset, run_length);
    if (run_length > length_bytes) AddFree(offset + length_bytes, run_length - length_bytes);
    const uint64_t generation = next_generation_++;
    live_[offset] = {length_bytes, generation};
    used_bytes_ += length_bytes;
    blocks.push_back(ArenaBlock(this, {region_, generation, offset, length_bytes}, base_ + offset));
  }
  if (blocks.size() < count) return full();
  return blocks;
}

void Arena::Free(const ArenaExtent& extent) {
  MutexLock lock(mu_);
  const auto it = live_.find(extent.offset_bytes);
  LCKV_CHECK(it != live_.end() && it->second.generation == extent.generation);
  live_.erase(it);
  used_bytes_ -= extent.length_bytes;
  FreeLocked(extent.offset_bytes, extent.length_bytes);
}

void Arena::FreeLocked(uint64_t offset, uint64_t length) {
  const auto after = free_by_offset_.lower_bound(offset);
  uint64_t begin = offset;
  uint64_t end = offset + length;
  if (after != free_by_offset_.begin()) {
    const auto [before_offset, before_length] = *std::prev(after);
    LCKV_CHECK(before_offset + before_length <= offset);
    if (before_offset + before_length == offset) begin = before_offset;
  }
  if (after != free_by_offset_.end() && after->first == end) end += after->second;
  if (end != offset + length) RemoveFree(offset + length, end - offset - length);
  if (begin != offset) RemoveFree(begin, offset - begin);
  AddFree(begin, end - begin);
}

void Arena::AddFree(uint64_t offset, uint64_t length) {
  free_by_offset_.emplace(offset, length);
  free_by_length_.emplace(length, offset);
}

void Arena::RemoveFree(uint64_t offset, uint64_t length) {
  free_by_offset_.erase(offset);
  free_by_length_.erase({length, offset});
}

bool Arena::IsLive(const ArenaExtent& extent) const {
  if (extent.region != region_) return false;
  MutexLock lock(mu_);
  const auto it = live_.find(extent.offset_bytes);
  return it != live_.end() && it->second.generation == extent.generation &&
         it->second.length_bytes == extent.length_bytes;
}

uint64_t Arena::used_bytes() const {
  MutexLock lock(mu_);
  return used_bytes_;
}

size_t Arena::live_blocks() const {
  MutexLock lock(mu_);
  return live_.size();
}

bool Arena::TEST_Consistent() const {
  MutexLock lock(mu_);
  std::map<uint64_t, std::pair<uint64_t, bool>> runs;  // offset -> length, free
  for (const auto& [offset, length] : free_by_offset_) runs[offset] = {length, true};
  for (const auto& [offset, block] : live_) runs[offset] = {block.length_bytes, false};
  if (runs.size() != free_by_offset_.size() + live_.size()) return false;
  if (free_by_length_.size() != free_by_offset_.size()) return false;
  uint64_t next = 0;
  uint64_t used = 0;
  bool previous_free = false;
  for (const auto& [offset, run] : runs) {
    const auto [length, is_free] = run;
    if (offset != next || (is_free && previous_free)) return false;
    next += length;
    if (!is_free) used += length;
    previous_free = is_free;
  }
  return next == capacity_bytes_ && used == used_bytes_;
}

}  // namespace lckv
