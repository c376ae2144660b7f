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

std::string SharedMemoryOfBlock::Describe(Fault fault, const SharedArea& area, size_t offset,
                                          Access access) {
  const std::string byte = " shared byte " + std::to_string(static_cast<int64_t>(offset));
  if (fault == Fault::kOutside) return "touches" + byte + " of " + std::to_string(area.bytes);
  if (fault == Fault::kCopyUnderWay) {
    return "touches" + byte + ", where an asynchronous copy has not been waited for";
  }
  return (access == Access::kRead ? "reads" : "writes") + byte +
         ", which another thread touches without a barrier between";
}

void SharedMemoryOfBlock::SetUnderWay(const SharedArea& area, size_t offset, bool under_way) {
  Cell* const cells = static_cast<Cell*>(area.cells);
  for (size_t i = offset >> area.unit_shift; i < (offset + 16) >> area.unit_shift; ++i) {
    cells[i].block_of_copy = under_way ? block_ : 0;
  }
}

}  // namespace lckv::simt
