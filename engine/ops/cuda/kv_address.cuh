#pragma once

// The rule beside KvTable (engine/ops/kv_table.h) for device code: engine/ops/kv_address.h's twin.

#include "engine/ops/cuda/device.cuh"
#include "engine/ops/kv_table.h"

namespace lckv::gpu {

// Start of the producer's data in the page that holds `position`.
LCKV_DEVICE inline const uint8_t* KvPage(const KvTable& table, const KvShape& shape,
                                         int32_t position) {
  const int32_t page = position / shape.tokens_per_page;
  if (position < table.split) {
    return static_cast<const uint8_t*>(table.past_pages[page]) + table.past_offset_bytes;
  }
  return static_cast<const uint8_t*>(table.own_pages[page - table.own_first_page]) +
         table.own_offset_bytes;
}

// As KvPage, but always in the own pages: where K and V of the segment being evaluated are written.
LCKV_DEVICE inline uint8_t* KvOwnPage(const KvTable& table, const KvShape& shape,
                                      int32_t position) {
  const int32_t page = position / shape.tokens_per_page - table.own_first_page;
  return static_cast<uint8_t*>(table.own_pages[page]) + table.own_offset_bytes;
}

// Bytes from the producer's data in a page to K of `position` in kv head `head`; V lies
// value_offset_bytes further.
LCKV_DEVICE inline int64_t KvKeyOffset(const KvShape& shape, int32_t head, int32_t position,
                                       int32_t element_bytes) {
  const int64_t slot = position % shape.tokens_per_page;
  return head * shape.head_stride_bytes + slot * shape.head_dim * element_bytes;
}

}  // namespace lckv::gpu
