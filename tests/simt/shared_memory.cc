#include "tests/simt/shared_memory.h"

#include <cstring>

namespace lckv::simt {

void SharedMemoryOfBlock::StartBlock(size_t dynamic_bytes) {
  dynamic_bytes_ = dynamic_bytes;
  ++block_;
  ++epoch_;
}

const SharedArea* SharedMemoryOfBlock::Find(const void* tag, size_t bytes, size_t unit_bytes) {
  if (tag == nullptr) bytes = dynamic_bytes_;
  auto [it, is_new] = arrays_.try_emplace(tag);
  Array& array = it->second;
  if (is_new) {
    array.data.reset(new unsigned char[bytes]);
    array.cells.resize((bytes + unit_bytes - 1) / unit_bytes);
    array.area = {array.data.get(), bytes, array.cells.data(),
                  unit_bytes == 1 ? 0u : (unit_bytes == 2 ? 1u : 2u)};
  } else if (unit_bytes < size_t{1} << array.area.unit_shift) {
    return nullptr;
  }
  if (array.block != block_) {
    array.block = block_;
    std::memset(array.data.get(), 0xff, bytes);
  }
  return &array.area;
}

void SharedMemoryOfBlock::Set(Mark& mark, const Toucher& by) const {
  const auto warp = static_cast<int16_t>(by.warp);
  if (ComesBefore(mark, by)) {
    mark.thread = static_cast<int16_t>(by.thread);
    mark.warp = warp;
  } else {
    mark.thread = kSeveral;
    if (mark.warp != warp) mark.warp = kSeveral;
  }
  mark.epoch = epoch_;
  mark.warp_epoch = by.warp_epoch;
}

bool SharedMemoryOfBlock::CheckCell(Cell& cell, Access access, const Toucher& by) const {
  bool right = ComesBefore(cell.write, by);
  if (access != Access::kRead) right = right && ComesBefore(cell.read, by);
  if (access != Access::kAtomic) right = right && ComesBefore(cell.atomic, by);
  Set(access == Access::kRead    ? cell.read
      : access == Access::kWrite ? cell.write
                                 : cell.atomic,
      by);
  return right;
}

std::string SharedMemoryOfBlock::Check(const SharedArea& area, size_t offset, size_t size,
                                       Access access, const Toucher& by) {
  if (offset > area.bytes || size > area.bytes - offset) {
    return "touches shared byte " + std::to_string(static_cast<int64_t>(offset)) + " of " +
           std::to_string(area.bytes);
  }
  Cell* const cells = static_cast<Cell*>(area.cells);
  const size_t last = (offset + size - 1) >> area.unit_shift;
  for (size_t i = offset >> area.unit_shift; i <= last; ++i) {
    if (cells[i].block_of_copy == block_) {
      return "touches shared byte " + std::to_string(i << area.unit_shift) +
             ", where an asynchronous copy has not been waited for";
    }
    if (CheckCell(cells[i], access, by)) continue;
    return std::string(access == Access::kRead ? "reads" : "writes") + " shared byte " +
           std::to_string(i << area.unit_shift) +
           ", which another thread touches without a barrier between";
  }
  return "";
}

void SharedMemoryOfBlock::SetUnderWay(const SharedArea& area, size_t offset, bool under_way) {
  Cell* const cells = static_cast<Cell*>(area.cells);
  for (size_t i = offset >> area.unit_shift; i < (offset + 16) >> area.unit_shift; ++i) {
    cells[i].block_of_copy = under_way ? block_ : 0;
  }
}

}  // namespace lckv::simt
