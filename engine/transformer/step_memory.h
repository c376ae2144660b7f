#pragma once

#include <cstdint>

#include "engine/kv/page_layout.h"
#include "engine/model/model_config.h"
#include "engine/tensor/dtype.h"

namespace lckv {

// Device memory of steps besides weights and pages, in bytes, for who plans before it is allocated.

// What Transformer allocates for a row, without its step tables (some kilobytes a sequence).
// `activations`: what products read.
int64_t StepRowBytes(const ModelConfig& config, DType activations);

// What EncodeSlot allocates for segments of `max_segment_tokens`; 0 for acyclic maps.
int64_t EncodeSlotBytes(const ModelConfig& config, const PageLayout& layout,
                        int64_t max_segment_tokens);

}  // namespace lckv
