#pragma once

#include <cstdint>
#include <optional>

#include "absl/status/statusor.h"
#include "engine/model/model_config.h"
#include "engine/plan/device_spec.h"
#include "engine/plan/model_work.h"
#include "engine/tensor/dtype.h"
#include "engine/transformer/layer0_table.h"

namespace lckv {

struct PlanRequest {
  static constexpr int kAutoLayers = -1;

  WeightFormat weights = WeightFormat::kBf16;
  DType kv_dtype = DType::kBf16;
  int tokens_per_page = 64;
  // A session: input, then generated tokens. The context is their sum.
  int64_t prompt_tokens = 0;  // >= 1
  int64_t generated_tokens = 0;
  int32_t passes = 0;  // K; 0: the model's
  // Layers whose weights lie in device memory; those above stay in host memory and stream in every
  // step. kAutoLayers: all if they fit beside one session, else as many as give the most decoded
  // tokens/s at the largest batch.
  int device_layers = kAutoLayers;
  Layer0Table layer0_table = Layer0Table::kAuto;  // as EngineOptions, on a GPU
  int64_t reserved_bytes = int64_t{1} << 30;      // CUDA context, workspaces, fragments
  int32_t step_tokens = 2048;                     // input rows of a step, as EngineOptions
  int32_t encode_slots = 4;                       // as EngineOptions; for cyclic maps
  int32_t running_turns = 64;              // turns at once while other sessions are only kept hot
  double link_bytes_per_second = 3.125e9;  // from the cache node
};

// Device memory at the largest batch, in bytes, and what does not lie there.
struct MemoryPlan {
  int64_t weight_bytes = 0;  // of layers on the device, embedding, head, rotary table, layer 0's
  int64_t stream_buffer_bytes = 0;  // two layers, when any stream
  int64_t activation_bytes = 0;     // float32 rows of a step, as Transformer allocates them
  int64_t logits_bytes = 0;         // float32 [batch][vocab]
  int64_t encode_slot_bytes = 0;    // hidden states and two KV copies of a segment, each slot
  int64_t kv_bytes = 0;             // pages of the largest batch
  int64_t reserved_bytes = 0;
  int64_t host_weight_bytes = 0;  // in host memory: layers that stream

  int64_t device_bytes() const {
    return weight_bytes + stream_buffer_bytes + activation_bytes + logits_bytes +
           encode_slot_bytes + kv_bytes + reserved_bytes;
  }
};

// Tokens of all sequences together, at the roofline.
struct Rate {
  double seconds = 0;  // of a decode step, or of one input
  double tokens_per_second = 0;
  Bound bound = Bound::kMemory;
};

// A whole batch from nothing: every input encoded, then every token generated; the figure that the
// LCKV paper reports (generated tokens over all the time). 0 when nothing is generated.
struct EndToEnd {
  double seconds = 0;
  double tokens_per_second = 0;
};

// Bringing a session's KV back against encoding its tokens again.
struct RestorePlan {
  int64_t bytes_per_1k_tokens = 0;   // whole pages
  double seconds_per_1k_tokens = 0;  // wire time, over the slower of link and host link
  double encode_seconds_per_1k_tokens = 0;
  // From so many tokens on, up to max_positions (2^20 at most), restoring is never slower. Absent:
  // at that many tokens encoding is still faster.
  std::optional<int64_t> crossover_tokens;
};

struct Plan {
  int64_t context_tokens = 0;
  int32_t passes = 1;  // K in effect
  int device_layers = 0;
  int64_t kv_bytes_per_token = 0;
  int64_t page_bytes = 0;
  int64_t session_bytes = 0;  // pages of one session of the context
  int64_t weight_bytes = 0;   // of the whole model
  MemoryPlan memory;
  int64_t largest_batch = 0;  // sessions of the context decoding together
  int64_t hot_sessions = 0;   // of the context in memory, while running_turns of them run
  // At position prompt + generated / 2: the mean of a generation; at the last position when nothing
  // is generated.
  int64_t decode_position = 0;
  Rate decode_one;           // batch 1
  Rate decode_batch;         // largest batch, each layer reads its KV from device memory
  Rate decode_batch_shared;  // largest batch, the KV of a producer is read once a step
  Rate encode;               // one input of prompt_tokens
  EndToEnd total;            // largest batch, each layer reads its KV
  EndToEnd total_shared;     // largest batch, read once a step
  RestorePlan restore;
};

// Calculates a plan. Pure: no device is touched, no weights are read. Pages are those of
// MakePageLayout; activations those of Transformer (without its step tables, some kilobytes a
// sequence). INVALID_ARGUMENT: a value of `request` or `device` out of range, a context beyond the
// model's positions, a format or a layer 0 table that the device or the engine lacks.
// RESOURCE_EXHAUSTED: weights and one session do not fit.
absl::StatusOr<Plan> MakePlan(const ModelConfig& config, const DeviceSpec& device,
                              const PlanRequest& request);

// The same model with a KV of its own for every layer, the ordinary Llama: what a plan is compared
// with.
ModelConfig WithFullMap(ModelConfig config);

}  // namespace lckv
