#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/transformer/model.h"
#include "engine/transformer/pass_buffers.h"
#include "engine/transformer/step_batch.h"
#include "engine/transformer/step_recordings.h"

namespace lckv {

// The forward pass of one step over a batch of sequences (design section 4): Llama blocks whose
// layers read the K/V of the layer that the map names, for rows that go through all layers and rows
// of one encoder stage together. Owns the activations; all memory is planned at creation. Knows no
// sessions, no pools, no time. One thread at a time.
class Transformer {
 public:
  struct Limits {
    int max_rows = 0;  // of a step, all sequences together
    int max_logit_rows = 0;
    int max_sequences = 0;
    int max_context = 0;  // tokens of one sequence
  };

  // `model` and `layout` must outlive the transformer. RESOURCE_EXHAUSTED.
  static absl::StatusOr<std::unique_ptr<Transformer>> Create(const Model* model,
                                                             const PageLayout* layout,
                                                             const Limits& limits);

  // A slot for encoding one segment at a time; any number may exist.
  absl::StatusOr<EncodeSlot> CreateSlot(int max_segment_tokens) const;

  struct Output {
    const float* logits = nullptr;  // backend memory, [num_logit_rows][vocab]
    int32_t num_logit_rows = 0;
    std::vector<int32_t> token;    // of work[i], chosen from its logits; -1: none
    std::vector<float> kv_change;  // of work[i]: largest relative change in this, its last, pass;
                                   // 0: nothing measured
  };
  // Evaluates `work`, whose sizes are within the limits. The output is valid until the next call.
  // An error is the backend's, and fatal. A step without logits and measured change is not waited
  // for: its errors come with a later one.
  absl::StatusOr<Output> Forward(absl::Span<const SequenceWork> work);

 private:
  Transformer(const Model* model, const PageLayout* layout, const Limits& limits);
  absl::Status AllocateBuffers();

  struct Rows;  // the rows active at a layer
  Rows ActiveRows(const StepBatch& batch, int layer, bool after_drop) const;
  int32_t PaddedRows(absl::Span<const SequenceWork> work) const;
  // Every op of the step; which ones and with which numbers follows from the batch's shape.
  void Compute(const StepBatch& batch);
  // normed = RmsNorm of hidden, with the weights `norm`.
  void Normalize(const DeviceBuffer& norm, const Rows& rows);
  // Its K/V come from a table: every row of the layer is a token's embedding.
  bool LooksUpKv(int layer) const;
  // k_ and v_, or q_, from normed_; not rotated yet.
  void ProjectKv(int layer, const Rows& rows);
  void ProjectQueries(int layer, const Rows& rows);
  void RopeAndStore(const StepBatch& batch, int layer, const Rows& queries, const Rows& stored);
  void MeasureChange(const StepBatch& batch, int layer, size_t index);
  // Keeps the rows that go on beyond `layer`, and norms them again.
  void DropRows(const StepBatch& batch, int layer);
  void AttentionBlock(const StepBatch& batch, int layer, const Rows& rows);
  void MlpBlock(int layer, const Rows& rows);
  void Logits(const StepBatch& batch);
  std::vector<int32_t> Sample(const StepBatch& batch, absl::Span<const SequenceWork> work);
  std::vector<float> KvChanges(const StepBatch& batch, absl::Span<const SequenceWork> work);
  KvShape ShapeOf(int layer) const;
  float* Hidden(int32_t row) const;
  Activations Normed(int32_t row) const;
  // The beginning of `buffer` as what products read.
  Activations ActivationsIn(const DeviceBuffer& buffer) const;

  const Model* model_;
  const PageLayout* layout_;
  const Limits limits_;
  PassLayout pass_layout_;
  int last_producer_ = 0;
  StepRecordings recordings_;
  float* rows_ = nullptr;  // of the step: hidden_ before the drop, kept_hidden_ after it

  // [max_rows][…] each; float32, but those that products read are Activations.
  DeviceBuffer hidden_, kept_hidden_;
  DeviceBuffer normed_, attention_, mlp_;  // Activations
  DeviceBuffer q_, k_, v_, gate_, up_;
  DeviceBuffer kv_change_;  // [upward targets][max_rows]
  DeviceBuffer logits_;     // [max_logit_rows][vocab]
  DeviceBuffer tokens_;     // [max_logit_rows]
  DeviceBuffer spare_page_;
  DeviceBuffer step_;  // a StepBatch's bytes
};

}  // namespace lckv
