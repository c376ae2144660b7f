#pragma once

// The shared memory of the running block, and who touched it: for executor.cc.

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/simt/executor.h"

namespace lckv::simt {

// A thread as the record of accesses sees it.
struct Toucher {
  int thread = 0;
  int warp = 0;
  uint32_t warp_epoch = 0;  // grows with every __syncwarp() of the whole warp
};

class SharedMemoryOfBlock {
 public:
  // New contents (0xff: NaNs), nothing touched.
  void StartBlock(size_t dynamic_bytes);
  // All threads have met: what they did before comes before what they do now.
  void Barrier() { ++epoch_; }
  void Clear() { arrays_.clear(); }

  // SharedMemory() of executor.h; null: an array is used in smaller units than it was declared in.
  const SharedArea* Find(const void* tag, size_t bytes, size_t unit_bytes);

  enum class Fault { kNone, kOutside, kCopyUnderWay, kRace };
  // Records the access. Every access of every kernel comes here: no text unless there is a fault.
  Fault Check(const SharedArea& area, size_t offset, size_t size, Access access,
              const Toucher& by) {
    if (offset > area.bytes || size > area.bytes - offset) return Fault::kOutside;
    Cell* const cells = static_cast<Cell*>(area.cells);
    const size_t last = (offset + size - 1) >> area.unit_shift;
    for (size_t i = offset >> area.unit_shift; i <= last; ++i) {
      if (cells[i].block_of_copy == block_) return Fault::kCopyUnderWay;
      if (!CheckCell(cells[i], access, by)) return Fault::kRace;
    }
    return Fault::kNone;
  }
  // "reads shared byte 12, which …"
  static std::string Describe(Fault fault, const SharedArea& area, size_t offset, Access access);
  // A copy to these 16 bytes begins, or has landed. Check(kWrite) comes before and after.
  void SetUnderWay(const SharedArea& area, size_t offset, bool under_way);

 private:
  static constexpr int16_t kNobody = -1;
  static constexpr int16_t kSeveral = -2;

  // The last access of one kind, or the several that nothing orders.
  struct Mark {
    uint32_t epoch = 0;
    uint32_t warp_epoch = 0;
    int16_t thread = kNobody;
    int16_t warp = kNobody;
  };
  struct Cell {
    Mark read, write, atomic;
    uint32_t block_of_copy = 0;  // the block with an asynchronous copy under way to here
  };
  struct Array {
    std::unique_ptr<unsigned char[]> data;
    std::vector<Cell> cells;
    SharedArea area;
    uint32_t block = 0;  // the last one that used it
  };

  bool ComesBefore(const Mark& mark, const Toucher& by) const {
    return mark.epoch != epoch_ || mark.thread == by.thread ||
           (mark.warp == by.warp && mark.warp_epoch != by.warp_epoch);
  }
  void Set(Mark& mark, const Toucher& by) const {
    if (ComesBefore(mark, by)) {
      mark.thread = static_cast<int16_t>(by.thread);
      mark.warp = static_cast<int16_t>(by.warp);
    } else {
      mark.thread = kSeveral;
      if (mark.warp != by.warp) mark.warp = kSeveral;
    }
    mark.epoch = epoch_;
    mark.warp_epoch = by.warp_epoch;
  }
  bool CheckCell(Cell& cell, Access access, const Toucher& by) const {
    bool right = ComesBefore(cell.write, by);
    if (access != Access::kRead) right = right && ComesBefore(cell.read, by);
    if (access != Access::kAtomic) right = right && ComesBefore(cell.atomic, by);
    Set(access == Access::kRead    ? cell.read
        : access == Access::kWrite ? cell.write
                                   : cell.atomic,
        by);
    return right;
  }

  std::map<const void*, Array> arrays_;
  size_t dynamic_bytes_ = 0;
  uint32_t block_ = 0;
  uint32_t epoch_ = 1;
};

}  // namespace lckv::simt
