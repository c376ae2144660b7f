#include "engine/transformer/layer0_table.h"

#include "absl/status/status.h"

namespace lckv {
namespace {

constexpr int64_t kLeastWeightsPerTable = 50;  // bytes for each of the table's, with kAuto

}  // namespace

int64_t Layer0TableBytes(const ModelConfig& config) {
  return 2 * int64_t{config.vocab_size} * config.num_kv_heads * config.head_dim *
         int64_t{sizeof(float)};
}

absl::StatusOr<int64_t> PlanLayer0Table(const ModelConfig& config, Layer0Table table,
                                        bool memory_is_host, int64_t weight_bytes) {
  if (table == Layer0Table::kOff) return 0;
  const int64_t bytes = Layer0TableBytes(config);
  if (!config.layer_map.is_producer(0)) {
    if (table == Layer0Table::kAuto) return 0;
    return absl::InvalidArgumentError(
        "a table of layer 0's K/V: layer 0 of this model produces none");
  }
  if (table == Layer0Table::kOn) return bytes;
  return !memory_is_host && bytes * kLeastWeightsPerTable <= weight_bytes ? bytes : 0;
}

}  // namespace lckv
