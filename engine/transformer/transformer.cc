#include "engine/transformer/transformer.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "base/check.h"
#include "base/status_macros.h"
#include "base/units.h"

namespace lckv {

// A contiguous range of rows with what the ops of a layer need to know of it.
struct Transformer::Rows {
  int32_t begin = 0;
  int32_t count = 0;
  const int32_t* positions = nullptr;     // of row `begin`
  const int32_t* table_of_row = nullptr;  // of row `begin`

  // The range without its first `rows` rows.
  Rows Without(int32_t rows) const {
    return {begin + rows, count - rows, positions + rows, table_of_row + rows};
  }
};

Transformer::Transformer(const Model* model, const PageLayout* layout, const Limits& limits)
    : model_(model),
      layout_(layout),
      limits_(limits),
      pass_layout_(model->config().layer_map, *layout),
      last_producer_(model->config().layer_map.producers().back()) {}

absl::StatusOr<std::unique_ptr<Transformer>> Transformer::Create(const Model* model,
                                                                 const PageLayout* layout,
                                                                 const Limits& limits) {
  LCKV_CHECK(limits.max_rows > 0 && limits.max_logit_rows > 0 && limits.max_sequences > 0);
  std::unique_ptr<Transformer> transformer(new Transformer(model, layout, limits));
  LCKV_RETURN_IF_ERROR(transformer->AllocateBuffers());
  return transformer;
}

absl::Status Transformer::AllocateBuffers() {
  const ModelConfig& config = model_->config();
  Backend& backend = model_->backend();
  const auto floats = [&](int64_t rows, int64_t size, DeviceBuffer& buffer) -> absl::Status {
    const auto bytes = static_cast<size_t>(rows) * static_cast<size_t>(size) * sizeof(float);
    LCKV_ASSIGN_OR_RETURN(buffer, backend.Allocate(bytes));
    return absl::OkStatus();
  };
  const int64_t rows = limits_.max_rows;
  const int64_t q_size = int64_t{config.num_heads} * config.head_dim;
  const int64_t kv_size = int64_t{config.num_kv_heads} * config.head_dim;
  const auto activations = [&](int64_t size, DeviceBuffer& buffer) -> absl::Status {
    LCKV_ASSIGN_OR_RETURN(
        buffer,
        backend.Allocate(static_cast<size_t>(BytesOf(backend.activation_dtype(), rows * size))));
    return absl::OkStatus();
  };
  LCKV_RETURN_IF_ERROR(floats(rows, config.hidden_size, hidden_));
  LCKV_RETURN_IF_ERROR(floats(rows, config.hidden_size, kept_hidden_));
  LCKV_RETURN_IF_ERROR(activations(config.hidden_size, normed_));
  LCKV_RETURN_IF_ERROR(activations(q_size, attention_));
  LCKV_RETURN_IF_ERROR(activations(config.intermediate_size, mlp_));
  LCKV_RETURN_IF_ERROR(floats(rows, q_size, q_));
  LCKV_RETURN_IF_ERROR(floats(rows, kv_size, k_));
  LCKV_RETURN_IF_ERROR(floats(rows, kv_size, v_));
  LCKV_RETURN_IF_ERROR(floats(rows, config.intermediate_size, gate_));
  LCKV_RETURN_IF_ERROR(floats(rows, config.intermediate_size, up_));
  LCKV_RETURN_IF_ERROR(floats(config.num_layers, rows, kv_change_));
  LCKV_RETURN_IF_ERROR(floats(limits_.max_logit_rows, config.vocab_size, logits_));

  std::vector<int32_t> identity(static_cast<size_t>(std::max(limits_.max_rows, kMaxSegmentTokens)));
  std::iota(identity.begin(), identity.end(), 0);
  const size_t identity_bytes = identity.size() * sizeof(int32_t);
  LCKV_ASSIGN_OR_RETURN(identity_, backend.Allocate(identity_bytes));
  backend.CopyToDevice(identity_.data(), identity.data(), identity_bytes);

  // Bounds StepBatch::bytes(): nine ints a row; per sequence its pages, two pass copies and three
  // tables a layer; 64 bytes of padding for each array.
  const int64_t pages = layout_->PagesFor(limits_.max_context) + 1;
  const int64_t pass_pages = layout_->PagesFor(kMaxSegmentTokens) + 1;
  const int64_t per_sequence = (pages + 2 * pass_pages) * int64_t{sizeof(void*)} +
                               3 * config.num_layers * int64_t{sizeof(KvTable)} + 3 * 64;
  const int64_t step_bytes = rows * 9 * int64_t{sizeof(int32_t)} +
                             limits_.max_sequences * per_sequence +
                             (16 + 3 * config.num_layers) * int64_t{64};
  LCKV_ASSIGN_OR_RETURN(step_, backend.Allocate(static_cast<size_t>(step_bytes)));
  return absl::OkStatus();
}

absl::StatusOr<EncodeSlot> Transformer::CreateSlot(int max_segment_tokens) const {
  return EncodeSlot::Create(model_->backend(), model_->config(), pass_layout_,
                            layout_->tokens_per_page(), max_segment_tokens);
}

float* Transformer::Hidden(int32_t row) const {
  return hidden_.floats() + int64_t{row} * model_->config().hidden_size;
}

Activations Transformer::ActivationsIn(const DeviceBuffer& buffer) const {
  return {buffer.data(), model_->backend().activation_dtype()};
}

Activations Transformer::Normed(int32_t row) const {
  const DType dtype = model_->backend().activation_dtype();
  return {normed_.bytes() + BytesOf(dtype, int64_t{row} * model_->config().hidden_size), dtype};
}

KvShape Transformer::ShapeOf(int layer) const {
  const ProducerLayout& producer = *layout_->FindLayer(layer);
  KvShape shape;
  shape.tokens_per_page = layout_->tokens_per_page();
  shape.kv_heads = producer.kv_heads;
  shape.head_dim = producer.head_dim;
  shape.head_stride_bytes = layout_->head_stride_bytes(producer);
  shape.value_offset_bytes = layout_->value_offset_bytes(producer);
  return shape;
}

Transformer::Rows Transformer::ActiveRows(const StepBatch& batch, int layer,
                                          bool after_drop) const {
  const StepBatch::Counts& counts = batch.counts(after_drop);
  const LayerRun& stage = batch.stage();
  const bool staged = layer >= stage.begin && layer < stage.end;
  int32_t begin = staged ? 0 : counts.staged;
  if (staged && batch.top_target() >= 0 && layer > batch.top_target()) begin = counts.drafts;
  return {begin, counts.rows - begin, batch.positions(after_drop) + begin,
          batch.table_of_row(after_drop) + begin};
}

absl::StatusOr<Transformer::Output> Transformer::Forward(absl::Span<const SequenceWork> work) {
  LCKV_CHECK(!work.empty() && work.size() <= static_cast<size_t>(limits_.max_sequences));
  const ModelConfig& config = model_->config();
  Backend& backend = model_->backend();
  const StepBatch batch(config, *layout_, pass_layout_, work, step_.bytes());
  LCKV_CHECK(batch.counts(false).rows <= limits_.max_rows);
  LCKV_CHECK(batch.num_logit_rows() <= limits_.max_logit_rows);
  LCKV_CHECK(batch.bytes().size() <= step_.size_bytes());
  backend.CopyToDevice(step_.data(), batch.bytes().data(), batch.bytes().size());

  const int32_t embedded = batch.first_embedded_row();
  backend.Embed({&model_->embedding(), batch.tokens() + embedded,
                 batch.counts(false).rows - embedded, Hidden(embedded)});
  LoadStaged(batch, work);
  measured_layers_.clear();
  bool after_drop = false;
  for (int layer = 0; layer < config.num_layers; ++layer) {
    Rows rows = ActiveRows(batch, layer, after_drop);
    if (rows.count > 0) {
      Normalize(model_->layer(layer).input_norm, rows);
      if (config.layer_map.is_producer(layer)) StoreKv(batch, layer, rows);
      if (config.layer_map.is_upward_target(layer)) MeasureChange(batch, layer);
      if (layer == batch.top_target()) rows = rows.Without(batch.counts(after_drop).drafts);
    }
    if (layer == last_producer_) {
      DropRows(batch, layer);
      after_drop = true;
      rows = ActiveRows(batch, layer, after_drop);
    }
    if (rows.count > 0) {
      AttentionBlock(batch, layer, rows);
      MlpBlock(layer, rows);
    }
    if (layer + 1 == batch.stage().end && layer + 1 < config.num_layers) {
      SaveStaged(batch, work, after_drop);
    }
  }
  Logits(batch);

  Output output;
  output.kv_change = KvChanges(batch, work);
  LCKV_RETURN_IF_ERROR(backend.Synchronize());
  output.logits = logits_.floats();
  output.num_logit_rows = batch.num_logit_rows();
  for (size_t i = 0; i < work.size(); ++i) {
    output.first_logit_row.push_back(batch.placement(i).first_logit_row);
  }
  return output;
}

void Transformer::Normalize(const DeviceBuffer& norm, const Rows& rows) {
  const ModelConfig& config = model_->config();
  model_->backend().RmsNorm({Hidden(rows.begin), norm.floats(), config.rms_norm_eps, rows.count,
                             config.hidden_size, Normed(rows.begin)});
}

void Transformer::LoadStaged(const StepBatch& batch, absl::Span<const SequenceWork> work) {
  if (batch.first_embedded_row() == 0) return;
  for (size_t i = 0; i < work.size(); ++i) {
    const WorkItem& item = work[i].item;
    if (item.stage == WorkItem::kAllLayers) continue;
    const int32_t* rows = identity_.ints() + (item.begin - item.segment_begin);
    model_->backend().GatherRows({work[i].slot->hidden(), rows, item.rows(),
                                  model_->config().hidden_size,
                                  Hidden(batch.placement(i).first_row)});
  }
}

void Transformer::SaveStaged(const StepBatch& batch, absl::Span<const SequenceWork> work,
                             bool after_drop) {
  // The drop keeps every final row of a stage that goes on, in order, and no draft row.
  const int32_t shift = after_drop ? batch.counts(false).drafts : 0;
  const int32_t size = model_->config().hidden_size;
  for (size_t i = 0; i < work.size(); ++i) {
    const WorkItem& item = work[i].item;
    if (item.stage == WorkItem::kAllLayers || !item.final_pass()) continue;
    const int32_t* rows = identity_.ints() + batch.placement(i).first_row - shift;
    float* to = work[i].slot->hidden() + int64_t{item.begin - item.segment_begin} * size;
    model_->backend().GatherRows({hidden_.floats(), rows, item.rows(), size, to});
  }
}

void Transformer::StoreKv(const StepBatch& batch, int layer, const Rows& rows) {
  const ModelConfig& config = model_->config();
  const LayerWeights& weights = model_->layer(layer);
  Backend& backend = model_->backend();
  const Activations x = Normed(rows.begin);
  backend.Linear({weights.k.get(), x, weights.k_bias.floats(), rows.count, false, k_.floats()});
  backend.Linear({weights.v.get(), x, weights.v_bias.floats(), rows.count, false, v_.floats()});
  backend.Rope({k_.floats(), rows.positions, model_->cos_sin().floats(), rows.count,
                config.num_kv_heads, config.head_dim});
  backend.StoreKv({k_.floats(), v_.floats(), rows.positions, rows.table_of_row,
                   batch.write_tables(layer), ShapeOf(layer), layout_->dtype(), rows.count});
}

void Transformer::MeasureChange(const StepBatch& batch, int layer) {
  const StepBatch::Counts& counts = batch.counts(false);
  const int32_t rows = counts.staged - counts.drafts;
  if (rows == 0 || !batch.stage().cyclic || layer < batch.stage().begin ||
      layer >= batch.stage().end) {
    return;
  }
  float* out = kv_change_.floats() +
               static_cast<int64_t>(measured_layers_.size()) * limits_.max_rows + counts.drafts;
  model_->backend().KvChange({batch.positions(false) + counts.drafts,
                              batch.table_of_row(false) + counts.drafts,
                              batch.previous_tables(layer), batch.write_tables(layer),
                              ShapeOf(layer), layout_->dtype(), rows, out});
  measured_layers_.push_back(layer);
}

void Transformer::DropRows(const StepBatch& batch, int layer) {
  const int32_t rows = batch.counts(true).rows;
  if (rows == batch.counts(false).rows) return;
  model_->backend().GatherRows({hidden_.floats(), batch.kept_rows(), rows,
                                model_->config().hidden_size, kept_hidden_.floats()});
  std::swap(hidden_, kept_hidden_);
  Normalize(model_->layer(layer).input_norm, ActiveRows(batch, layer, true));
}

void Transformer::AttentionBlock(const StepBatch& batch, int layer, const Rows& rows) {
  const ModelConfig& config = model_->config();
  const LayerWeights& weights = model_->layer(layer);
  Backend& backend = model_->backend();
  backend.Linear({weights.q.get(), Normed(rows.begin), weights.q_bias.floats(), rows.count, false,
                  q_.floats()});
  backend.Rope({q_.floats(), rows.positions, model_->cos_sin().floats(), rows.count,
                config.num_heads, config.head_dim});
  AttentionParams attention;
  attention.q = q_.floats();
  attention.positions = rows.positions;
  attention.table_of_row = rows.table_of_row;
  attention.tables = batch.read_tables(layer);
  attention.shape = ShapeOf(config.layer_map.source(layer));
  attention.dtype = layout_->dtype();
  attention.rows = rows.count;
  attention.heads = config.num_heads;
  attention.window = config.layer_map.windowed(layer) ? config.sliding_window : 0;
  attention.nodiag = config.nodiag(layer);
  attention.scale = 1.0f / std::sqrt(static_cast<float>(config.head_dim));
  attention.max_position = batch.max_position();
  attention.out = ActivationsIn(attention_);
  backend.Attention(attention);
  backend.Linear({weights.o.get(), ActivationsIn(attention_), weights.o_bias.floats(), rows.count,
                  true, Hidden(rows.begin)});
}

void Transformer::MlpBlock(int layer, const Rows& rows) {
  const ModelConfig& config = model_->config();
  const LayerWeights& weights = model_->layer(layer);
  Backend& backend = model_->backend();
  const Activations normed = Normed(rows.begin);
  Normalize(weights.post_attention_norm, rows);
  backend.Linear(
      {weights.gate.get(), normed, weights.gate_bias.floats(), rows.count, false, gate_.floats()});
  backend.Linear(
      {weights.up.get(), normed, weights.up_bias.floats(), rows.count, false, up_.floats()});
  backend.SwiGlu(
      {gate_.floats(), up_.floats(), rows.count, config.intermediate_size, ActivationsIn(mlp_)});
  backend.Linear({weights.down.get(), ActivationsIn(mlp_), weights.down_bias.floats(), rows.count,
                  true, Hidden(rows.begin)});
}

void Transformer::Logits(const StepBatch& batch) {
  const int32_t rows = batch.num_logit_rows();
  if (rows == 0) return;
  const ModelConfig& config = model_->config();
  Backend& backend = model_->backend();
  backend.GatherRows(
      {hidden_.floats(), batch.logit_rows(), rows, config.hidden_size, kept_hidden_.floats()});
  backend.RmsNorm({kept_hidden_.floats(), model_->final_norm().floats(), config.rms_norm_eps, rows,
                   config.hidden_size, Normed(0)});
  backend.Linear({&model_->lm_head(), Normed(0), nullptr, rows, false, logits_.floats()});
}

std::vector<float> Transformer::KvChanges(const StepBatch& batch,
                                          absl::Span<const SequenceWork> work) {
  std::vector<float> changes(work.size(), 0.0f);
  const auto max_rows = static_cast<size_t>(limits_.max_rows);
  std::vector<float> rows(max_rows * measured_layers_.size());
  if (rows.empty()) return changes;
  model_->backend().CopyToHost(rows.data(), kv_change_.data(), rows.size() * sizeof(float));
  for (size_t i = 0; i < work.size(); ++i) {
    if (!batch.placement(i).measured) continue;
    for (size_t layer = 0; layer < measured_layers_.size(); ++layer) {
      const auto first =
          rows.begin() + static_cast<int64_t>(layer * max_rows) + batch.placement(i).first_row;
      changes[i] = std::max(changes[i], *std::max_element(first, first + work[i].item.rows()));
    }
  }
  return changes;
}

}  // namespace lckv
