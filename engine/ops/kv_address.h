#pragma once

#include <cstdint>

#include "engine/ops/host_device.h"
#include "engine/ops/kv_table.h"

namespace lckv {

// Where the parts of a KvTable lie: the rule written beside KvTable, in code, for host and device.

// Start of producer data in the page that holds `position`, in the earlier segments' or the own
// pages as the split says.
LCKV_HOST_DEVICE inline uint8_t* KvPage(const KvTable& table, const KvShape& shape,
                                        int32_t position) {
  const int32_t page = position / shape.tokens_per_page;
  if (position < table.split) {
    return static_cast<uint8_t*>(table.past_pages[page]) + table.past_offset_bytes;
  }
  return static_cast<uint8_t*>(table.own_pages[page - table.own_first_page]) +
         table.own_offset_bytes;
}

// As KvPage, but always in the own pages: where K and V of the segment being evaluated are written.
LCKV_HOST_DEVICE inline uint8_t* KvOwnPage(const KvTable& table, const KvShape& shape,
                                           int32_t position) {
  const int32_t page = position / shape.tokens_per_page - table.own_first_page;
  return static_cast<uint8_t*>(table.own_pages[page]) + table.own_offset_bytes;
}

// K of `position` in kv head `head`, given the page; V lies value_offset_bytes further.
// `element_bytes`: size of one value.
LCKV_HOST_DEVICE inline uint8_t* KvKey(uint8_t* page, const KvShape& shape, int32_t head,
                                       int32_t position, int64_t element_bytes) {
  const int64_t slot = position % shape.tokens_per_page;
  return page + head * shape.head_stride_bytes + slot * shape.head_dim * element_bytes;
}

// The positions that a row sees: [0, sinks) and [begin, end), with sinks < begin <= end or none.
struct KvRange {
  int32_t begin;
  int32_t end;
  int32_t sinks;

  LCKV_HOST_DEVICE bool Sees(int32_t position) const {
    return position < sinks || (position >= begin && position < end);
  }
};
// What a row of AttentionParams at `position` sees.
LCKV_HOST_DEVICE inline KvRange VisibleRange(const KvTable& table, int32_t position, int32_t window,
                                             int32_t sinks, bool nodiag) {
  const int32_t own_end = nodiag ? position : position + 1;
  const int32_t end = table.visible_end < own_end ? table.visible_end : own_end;
  int32_t begin = window > 0 && position >= window ? position - window + 1 : 0;
  if (begin > end) begin = end;
  if (sinks >= begin) return {0, end, 0};
  return {begin, end, sinks > 0 ? sinks : 0};
}

// The chunks of `size` positions, at multiples of `size`, that hold what a row sees, in ascending
// order: those of the sinks, then those of the rest.
struct KvChunks {
  int32_t of_sinks;
  int32_t first;  // after those
  int32_t count;  // in all

  // The first position of chunk number `n`.
  LCKV_HOST_DEVICE int32_t At(int32_t n, int32_t size) const {
    return (n < of_sinks ? n : first + n - of_sinks) * size;
  }
};
LCKV_HOST_DEVICE inline KvChunks ChunksOf(const KvRange& range, int32_t size) {
  const int32_t of_sinks = (range.sinks + size - 1) / size;
  if (range.begin >= range.end) return {of_sinks, of_sinks, of_sinks};
  const int32_t first = range.begin / size > of_sinks ? range.begin / size : of_sinks;
  const int32_t end = (range.end + size - 1) / size;
  return {of_sinks, first, of_sinks + (end > first ? end - first : 0)};
}

}  // namespace lckv
