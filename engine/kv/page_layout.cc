#include "engine/kv/page_layout.h"

#include <cstring>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/units.h"

namespace lckv {
namespace {

constexpr int64_t kPageAlignmentBytes = 4096;
constexpr int kMaxTokensPerPage = 4096;

}  // namespace

absl::StatusOr<PageLayout> PageLayout::Create(const std::vector<Producer>& producers, DType dtype,
                                              int tokens_per_page) {
  if (producers.empty()) return absl::InvalidArgumentError("page layout: no producers");
  if (IsQuantized(dtype)) {
    return absl::InvalidArgumentError(
        absl::StrCat("page layout: KV format ", Name(dtype), " is not supported"));
  }
  if (tokens_per_page <= 0 || tokens_per_page > kMaxTokensPerPage || tokens_per_page % 16 != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("page layout: tokens_per_page must be a multiple of 16 from 16 to ",
                     kMaxTokensPerPage, ", got ", tokens_per_page));
  }
  PageLayout layout;
  layout.dtype_ = dtype;
  layout.tokens_per_page_ = tokens_per_page;
  int64_t offset = 0;
  for (const Producer& producer : producers) {
    if (producer.layer < 0 || producer.kv_heads <= 0 || producer.head_dim <= 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("page layout: bad shape of producer layer ", producer.layer));
    }
    const auto index = static_cast<size_t>(producer.layer);
    if (layout.by_layer_.size() <= index) layout.by_layer_.resize(index + 1, -1);
    if (layout.by_layer_[index] >= 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("page layout: layer ", producer.layer, " twice"));
    }
    layout.by_layer_[index] = static_cast<int>(layout.producers_.size());
    layout.producers_.push_back({producer.layer, producer.kv_heads, producer.head_dim, offset});
    const int64_t token_bytes = 2 * BytesOf(dtype, int64_t{producer.kv_heads} * producer.head_dim);
    layout.bytes_per_token_ += token_bytes;
    offset += token_bytes * tokens_per_page;
  }
  layout.page_bytes_ = RoundUp(offset, kPageAlignmentBytes);
  return layout;
}

const ProducerLayout* PageLayout::FindLayer(int layer) const {
  if (layer < 0 || static_cast<size_t>(layer) >= by_layer_.size()) return nullptr;
  const int index = by_layer_[static_cast<size_t>(layer)];
  return index < 0 ? nullptr : &producers_[static_cast<size_t>(index)];
}

int64_t PageLayout::head_stride_bytes(const ProducerLayout& producer) const {
  return 2 * value_offset_bytes(producer);
}

int64_t PageLayout::value_offset_bytes(const ProducerLayout& producer) const {
  return BytesOf(dtype_, int64_t{tokens_per_page_} * producer.head_dim);
}

int64_t PageLayout::PagesFor(int64_t tokens) const { return CeilDiv(tokens, tokens_per_page_); }

void PageLayout::ZeroBeyond(int64_t tokens, uint8_t* page) const {
  LCKV_CHECK(tokens >= 0 && tokens <= tokens_per_page_);
  int64_t used_bytes = 0;
  for (const ProducerLayout& producer : producers_) {
    const int64_t block_bytes = value_offset_bytes(producer);  // [T][head_dim] of K or of V
    const int64_t kept_bytes = BytesOf(dtype_, tokens * producer.head_dim);
    for (int64_t block = 0; block < 2 * producer.kv_heads; ++block) {
      std::memset(page + producer.offset_bytes + block * block_bytes + kept_bytes, 0,
                  static_cast<size_t>(block_bytes - kept_bytes));
    }
    used_bytes = producer.offset_bytes + 2 * producer.kv_heads * block_bytes;
  }
  std::memset(page + used_bytes, 0, static_cast<size_t>(page_bytes_ - used_bytes));
}

}  // namespace lckv
