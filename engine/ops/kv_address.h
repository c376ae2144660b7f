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

// The positions [begin, end) that a row at `position` sees.
struct KvRange {
  int32_t begin;
  int32_t end;
};
LCKV_HOST_DEVICE inline KvRange VisibleRange(const KvTable& table, int32_t position, int32_t window,
                                             bool nodiag) {
  const int32_t own_end = nodiag ? position : position + 1;
  const int32_t end = table.visible_end < own_end ? table.visible_end : own_end;
  const int32_t begin = window > 0 && position >= window ? position - window + 1 : 0;
  return {begin, begin > end ? begin : end};
}

}  // namespace lckv
