#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/tensor/dtype.h"

namespace lckv {

// Appears in fingerprints; grows with every change of the layout below.
inline constexpr int kPageLayoutVersion = 1;

// Where a producer's K and V lie inside a page.
struct ProducerLayout {
  int layer = 0;  // the producing layer
  int kv_heads = 0;
  int head_dim = 0;
  int64_t offset_bytes = 0;  // of kv head 0 from the page's start
};

// The byte layout of a KV page (design section 6, cache/FORMAT.md): T = tokens_per_page consecutive
// tokens of one session, all producers together:
//
//   [producer][kv_head]{ K: [T][head_dim], V: [T][head_dim] }     little-endian values of `dtype`
//
// rounded up with zeros to 4 KiB. The same bytes on CPU, GPU, in the arena, on disk and on the
// wire. A table computed once from the model; producers may differ in shape. Immutable after
// Create.
class PageLayout {
 public:
  struct Producer {
    int layer;
    int kv_heads;
    int head_dim;
  };

  // INVALID_ARGUMENT: no producers, sizes not positive, a quantised dtype, or tokens_per_page not a
  // positive multiple of 16.
  static absl::StatusOr<PageLayout> Create(const std::vector<Producer>& producers, DType dtype,
                                           int tokens_per_page);

  const std::vector<ProducerLayout>& producers() const { return producers_; }
  // The entry of a producing layer; null when `layer` is no producer.
  const ProducerLayout* FindLayer(int layer) const;

  DType dtype() const { return dtype_; }
  int tokens_per_page() const { return tokens_per_page_; }
  int64_t page_bytes() const { return page_bytes_; }  // a multiple of 4096
  int64_t bytes_per_token() const {
    return bytes_per_token_;
  }  // K and V of one token, all producers, no padding
  // From the K of one kv head to the K of the next.
  int64_t head_stride_bytes(const ProducerLayout& producer) const;
  // From the K of one kv head to its V.
  int64_t value_offset_bytes(const ProducerLayout& producer) const;
  // Pages that hold `tokens` tokens.
  int64_t PagesFor(int64_t tokens) const;
  // Zeroes everything in a page's host bytes that does not belong to its first `tokens` tokens:
  // what an earlier owner of the page left there never leaves the process, and equal contents have
  // equal checksums.
  void ZeroBeyond(int64_t tokens, uint8_t* page) const;

 private:
  std::vector<ProducerLayout> producers_;
  std::vector<int> by_layer_;
  DType dtype_ = DType::kBf16;
  int tokens_per_page_ = 64;
  int64_t page_bytes_ = 0;
  int64_t bytes_per_token_ = 0;
};

}  // namespace lckv
