#pragma once

#include <cstdint>

namespace lckv {

// How attention and the KV writer find one sequence's keys and values of one layer. Plain data: a
// CUDA backend copies it to the device as it is. Pages are KV pages (engine/kv/page_layout.h) or
// pass buffers with the same inner layout
//   [kv_head]{ K: [T][head_dim], V: [T][head_dim] }   starting `*_offset_bytes` after the page's
//   address, at a multiple of 16 bytes.
//
// Position j lies in slot j % T of
//   past_pages[j / T]                         if j <  split   (earlier segments)
//   own_pages[j / T - own_first_page]         if j >= split   (the segment being evaluated)
// Decode rows and acyclic layers have one table for both: own_pages == past_pages, own_first_page
// == 0, equal offsets.
struct KvTable {
  void* const* past_pages = nullptr;  // device-visible array of page addresses
  void* const* own_pages = nullptr;
  int64_t past_offset_bytes = 0;
  int64_t own_offset_bytes = 0;
  int32_t own_first_page = 0;
  int32_t split = 0;
  // Positions from here on are invisible to every row (first pass of a segment: == split);
  // INT32_MAX: no such limit.
  int32_t visible_end = INT32_MAX;
};

// The shape that all tables of one layer share.
struct KvShape {
  int32_t tokens_per_page = 0;  // T
  int32_t kv_heads = 0;
  int32_t head_dim = 0;
  int64_t head_stride_bytes = 0;   // K of a kv head to K of the next
  int64_t value_offset_bytes = 0;  // K to V of one kv head
};

}  // namespace lckv
