#include "engine/transformer/step_memory.h"

#include "engine/transformer/pass_buffers.h"

namespace lckv {

int64_t StepRowBytes(const ModelConfig& config, DType activations) {
  const int64_t query = int64_t{config.num_heads} * config.head_dim;
  const int64_t kv = int64_t{config.num_kv_heads} * config.head_dim;
  const int64_t floats = 2 * int64_t{config.hidden_size} + query + 2 * kv +
                         2 * int64_t{config.intermediate_size} + config.num_layers;
  const int64_t read_by_products = config.hidden_size + query + config.intermediate_size;
  return floats * int64_t{sizeof(float)} + BytesOf(activations, read_by_products);
}

int64_t EncodeSlotBytes(const ModelConfig& config, const PageLayout& layout,
                        int64_t max_segment_tokens) {
  if (!config.layer_map.cyclic()) return 0;
  const PassLayout passes(config.layer_map, layout);
  const int64_t copy_bytes = (layout.PagesFor(max_segment_tokens) + 1) * passes.page_bytes();
  return max_segment_tokens * config.hidden_size * int64_t{sizeof(float)} + 2 * copy_bytes;
}

}  // namespace lckv
