#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/kv/page_layout.h"
#include "engine/model/model_config.h"
#include "engine/plan/device_spec.h"

namespace lckv {

// How weight matrices lie in memory. Vectors (norms, biases, the rotary table) are float32 always.
enum class WeightFormat {
  kF32,
  kBf16,
  kFp8,   // e4m3: one byte a value, a float32 scale a row
  kInt8,  // DType::kQ8_0
  kInt4,  // DType::kQ4_1
};

// "f32" "bf16" "fp8" "int8" "int4"; INVALID_ARGUMENT for anything else.
absl::StatusOr<WeightFormat> ParseWeightFormat(absl::string_view name);
absl::string_view Name(WeightFormat format);
// INVALID_ARGUMENT when a matrix of `config` has rows that `format` cannot cut into blocks.
absl::Status CheckWeightFormat(const ModelConfig& config, WeightFormat format);

// The matrices and vectors of one layer, in the parts that encoding evaluates differently often.
// Parameters are counted for FLOPs: two a token.
struct LayerSize {
  int64_t kv_parameters = 0;     // k_proj and v_proj; 0 unless the layer is a producer
  int64_t block_parameters = 0;  // q_proj, o_proj and the MLP
  int64_t kv_weight_bytes = 0;
  int64_t block_weight_bytes = 0;  // norms included

  int64_t weight_bytes() const { return kv_weight_bytes + block_weight_bytes; }
};

struct ModelSize {
  std::vector<LayerSize> layers;
  int64_t embedding_bytes = 0;
  int64_t head_parameters = 0;     // vocab * hidden
  int64_t head_bytes = 0;          // read for logits
  bool tied = false;               // the head is the embedding: stored once
  int64_t other_bytes = 0;         // final norm and rotary table
  int64_t layer0_table_bytes = 0;  // 0: none (PlanLayer0Table)

  // All of it, stored once each: what Model::weight_bytes() says.
  int64_t weight_bytes() const;
};

// The sizes of a model for contexts of up to `max_context` tokens. REQUIRES: CheckWeightFormat is
// OK.
ModelSize SizeOf(const ModelConfig& config, WeightFormat format, int max_context);

// What a piece of evaluation asks of a device; each part takes its own time, and they overlap.
struct Work {
  double linear_flops = 0;     // matrix products with weights
  double attention_flops = 0;  // QK^T and PV
  double device_bytes = 0;     // read from and written to device memory: weights and KV
  double host_link_bytes = 0;  // weights streamed from host memory

  Work& operator+=(const Work& other);
  Work Times(double factor) const;
};

enum class Bound { kMemory, kCompute, kHostLink };
absl::string_view Name(Bound bound);  // "memory" "compute" "host link"

// FLOP/s of matrix products with weights of `format`: int8 and int4 are dequantised to bf16.
double LinearPeak(const DeviceSpec& device, WeightFormat format);

// The roofline: the longest of the three parts' times at the device's peaks.
struct Roofline {
  double seconds = 0;
  Bound bound = Bound::kMemory;
};
// Linear products run at LinearPeak, attention at bf16's (f32 weights: f32's). Never negative; 0
// peaks are not asked for (MakePlan has checked).
Roofline RooflineOf(const Work& work, const DeviceSpec& device, WeightFormat format);

// The work of a model, from its sizes. Follows Transformer and SegmentCursor: who projects K/V, who
// drops out, how many passes, whether layer 0's K/V are looked up. Counted are matrix products,
// attention, weights and KV; not counted are norms, activations' traffic and sampling. The first of
// several passes is counted as if its condensed layers already read the segment.
class ModelWork {
 public:
  struct Options {
    int32_t passes = 0;       // K; 0: the model's
    int32_t step_tokens = 0;  // rows of input evaluated at once; weights are read once each step
    int device_layers = 0;    // layers [0, n) lie in device memory, the others stream
    bool shared_kv_once = false;  // the layers that read one producer read it once together
  };
  // `config` and `layout` must outlive this object.
  ModelWork(const ModelConfig* config, const PageLayout* layout, ModelSize size,
            const Options& options);

  // Keys that layer `layer` sees at position p: p + 1, or p where its own position is hidden, and
  // no more than its window.
  int64_t VisibleKeys(int layer, int64_t position) const;

  // One step that evaluates one token of each of `batch` sequences at `position`.
  //   linear_flops    = batch * 2 * parameters
  //   attention_flops = batch * sum over layers of 4 * heads * head_dim * visible keys
  //   device_bytes    = all weights + batch * sum over layers of visible keys * KV bytes of f(i)
  //   host_link_bytes = weights of streamed layers
  Work DecodeStep(int64_t batch, int64_t position) const;

  // Encoding `prompts` inputs of `tokens` tokens each, from nothing, until the last token's logits.
  // A cyclic group gets min(n, K) passes for each segment of n <= 4,096 tokens; all but the last
  // pass end at the K/V projection of the group's top target, and above the last producer (in
  // itself: after its K/V projection) only the last token goes on.
  Work Encode(int64_t prompts, int64_t tokens) const;

 private:
  struct LayerPasses {
    int32_t kv = 1;     // passes that project K/V
    int32_t block = 1;  // passes that go on with attention and MLP; 0: only the last token does
  };
  LayerPasses PassesOf(int layer, int32_t segment_tokens) const;
  // Keys seen by positions [begin, end) of a layer, summed up.
  double SumVisible(int layer, int64_t begin, int64_t end) const;
  // Keys read by chunks of `chunk` positions that cover [begin, end), summed up.
  double SumRead(int layer, int64_t begin, int64_t end, int64_t chunk) const;
  int64_t TopKeys(int layer) const;
  double KvBytes(int layer) const;  // of one token of a producer
  bool Streamed(int layer) const { return layer >= options_.device_layers; }
  Work EncodeSegments(int64_t prompts, int64_t begin, int64_t end, int32_t segment_tokens) const;

  const ModelConfig* config_;
  const PageLayout* layout_;
  ModelSize size_;
  Options options_;
  double looked_up_bytes_ = 0;  // K and V of a token in layer 0, if they come from a table
  int last_producer_ = 0;
  std::vector<LayerRun> run_of_;  // of each layer
  std::vector<int> top_target_;   // of each layer's run; -1: not cyclic
};

}  // namespace lckv
