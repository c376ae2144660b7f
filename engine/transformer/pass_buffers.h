#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/kv/page_layout.h"
#include "engine/model/model_config.h"
#include "engine/ops/backend.h"

namespace lckv {

// Where the KV of upward targets lies in a pass buffer: pages of their own with the inner layout of
// a KV page.
class PassLayout {
 public:
  PassLayout(const LayerMap& layer_map, const PageLayout& pages);
  // Byte offset of the target's K in a pass page. REQUIRES: `layer` is an upward target.
  int64_t offset_bytes(int layer) const;
  int64_t page_bytes() const { return page_bytes_; }

 private:
  std::vector<int64_t> offset_by_layer_;  // -1: no upward target
  int64_t page_bytes_ = 0;
};

// What encoding one segment of a cyclic map needs between steps: the hidden states that its next
// stage starts from, and two copies of the upward targets' KV of its tokens, written by turns: pass
// p writes copy p % 2 and reads the other one; the last pass writes the KV pages. Sized for
// kMaxSegmentTokens (or the context, if that is less); reused from segment to segment.
class EncodeSlot {
 public:
  static absl::StatusOr<EncodeSlot> Create(Backend& backend, const ModelConfig& config,
                                           const PassLayout& pass_layout, int tokens_per_page,
                                           int max_segment_tokens);

  // float [max_segment_tokens][hidden_size]; row i belongs to token segment_begin + i.
  float* hidden() const { return hidden_.floats(); }
  // Addresses of copy 0 or 1's pages; page i holds the positions of KV page segment_begin / T + i.
  absl::Span<void* const> pages(int copy) const { return addresses_[static_cast<size_t>(copy)]; }

 private:
  DeviceBuffer hidden_;
  std::array<DeviceBuffer, 2> copies_;
  std::array<std::vector<void*>, 2> addresses_;
};

}  // namespace lckv
