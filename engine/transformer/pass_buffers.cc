#include "engine/transformer/pass_buffers.h"

#include "base/check.h"
#include "base/status_macros.h"
#include "base/units.h"

namespace lckv {

PassLayout::PassLayout(const LayerMap& layer_map, const PageLayout& pages)
    : offset_by_layer_(static_cast<size_t>(layer_map.num_layers()), -1) {
  for (const ProducerLayout& producer : pages.producers()) {
    if (!layer_map.is_upward_target(producer.layer)) continue;
    offset_by_layer_[static_cast<size_t>(producer.layer)] = page_bytes_;
    page_bytes_ += producer.kv_heads * pages.head_stride_bytes(producer);
  }
}

int64_t PassLayout::offset_bytes(int layer) const {
  const int64_t offset = offset_by_layer_[static_cast<size_t>(layer)];
  LCKV_CHECK(offset >= 0);
  return offset;
}

absl::StatusOr<EncodeSlot> EncodeSlot::Create(Backend& backend, const ModelConfig& config,
                                              const PassLayout& pass_layout, int tokens_per_page,
                                              int max_segment_tokens) {
  EncodeSlot slot;
  LCKV_ASSIGN_OR_RETURN(slot.hidden_,
                        backend.Allocate(static_cast<size_t>(max_segment_tokens) *
                                         static_cast<size_t>(config.hidden_size) * sizeof(float)));
  // A segment may begin anywhere in a page, hence one page more than its length asks for.
  const auto pages = static_cast<size_t>(CeilDiv(max_segment_tokens, tokens_per_page) + 1);
  const auto page_bytes = static_cast<size_t>(pass_layout.page_bytes());
  for (size_t copy = 0; copy < 2; ++copy) {
    LCKV_ASSIGN_OR_RETURN(slot.copies_[copy], backend.Allocate(pages * page_bytes));
    for (size_t page = 0; page < pages; ++page) {
      slot.addresses_[copy].push_back(slot.copies_[copy].bytes() + page * page_bytes);
    }
  }
  return slot;
}

}  // namespace lckv
