#include "engine/transformer/transformer.h"

#include <algorithm>
#include <cmath>
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
  int32_t decode = 0;                     // as AttentionParams::decode_rows

  // The range without its first `rows` rows.
  Rows Without(int32_t rows) const {
    return {begin + rows, count - rows, positions + rows, table_of_row + rows,
            std::min(decode, count - rows)};
  }
};

namespace {

// 1, 2, 3, 4, 6, 8, 12, 16, 24, …: the first that is not below `rows`.
int32_t BatchSize(int32_t rows) {
  int32_t size = 1;
  while (size < rows) size = size % 3 == 0 ? size / 3 * 4 : std::max(size + 1, size / 2 * 3);
  return size;
}

}  // namespace

Transformer::Transformer(const Model* model, const PageLayout* layout, const Limits& limits)
    : model_(model),
      layout_(layout),
      limits_(limits),
      pass_layout_(model->config().layer_map, *layout),
      last_producer_(model->config().layer_map.producers().back()),
      recordings_(&model->backend()) {}

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
  const size_t token_bytes = static_cast<size_t>(limits_.max_logit_rows) * sizeof(int32_t);
  LCKV_ASSIGN_OR_RETURN(tokens_, backend.Allocate(token_bytes));

  LCKV_ASSIGN_OR_RETURN(spare_page_, backend.Allocate(static_cast<size_t>(layout_->page_bytes())));

  // Bounds StepBatch::bytes(): nine ints and four addresses a row; a SampleRow for each row of
  // logits; per sequence its pages, two pass copies and three tables a layer; 64 bytes of padding
  // for each array.
  const int64_t pages = layout_->PagesFor(limits_.max_context) + 1;
  const int64_t pass_pages = layout_->PagesFor(kMaxSegmentTokens) + 1;
  const int64_t per_sequence = (pages + 2 * pass_pages) * int64_t{sizeof(void*)} +
                               3 * config.num_layers * int64_t{sizeof(KvTable)} + 3 * 64;
  const int64_t step_bytes = rows * (9 * int64_t{sizeof(int32_t)} + 4 * int64_t{sizeof(void*)}) +
                             limits_.max_sequences * per_sequence +
                             limits_.max_logit_rows * int64_t{sizeof(SampleRow)} +
                             (20 + 3 * config.num_layers) * int64_t{64};
  LCKV_ASSIGN_OR_RETURN(step_, backend.Allocate(static_cast<size_t>(step_bytes)));
  return backend.ReserveStaging(step_.size_bytes(),
                                std::max(tokens_.size_bytes(), kv_change_.size_bytes()));
}

absl::StatusOr<EncodeSlot> Transformer::CreateSlot(int max_segment_tokens) const {
  return EncodeSlot::Create(model_->backend(), model_->config(), pass_layout_,
                            layout_->tokens_per_page(), max_segment_tokens);
}

float* Transformer::Hidden(int32_t row) const {
  return rows_ + int64_t{row} * model_->config().hidden_size;
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
          batch.table_of_row(after_drop) + begin, std::min(counts.decode, counts.rows - begin)};
}

// Decode batches take a few sizes only, so that a recording for each serves all steps of a turn.
int32_t Transformer::PaddedRows(absl::Span<const SequenceWork> work) const {
  if (!model_->backend().can_record()) return 0;
  for (const SequenceWork& sequence : work) {
    const WorkItem& item = sequence.item;
    if (item.stage != WorkItem::kAllLayers || item.rows() != 1 ||
        sequence.logits == LogitsWanted::kNone) {
      return 0;
    }
  }
  return std::min({BatchSize(static_cast<int32_t>(work.size())), limits_.max_rows,
                   limits_.max_logit_rows, limits_.max_sequences});
}

absl::StatusOr<Transformer::Output> Transformer::Forward(absl::Span<const SequenceWork> work) {
  LCKV_CHECK(!work.empty() && work.size() <= static_cast<size_t>(limits_.max_sequences));
  Backend& backend = model_->backend();
  const StepBatch batch(
      model_->config(), *layout_, pass_layout_, work,
      {step_.bytes(), hidden_.floats(), kept_hidden_.floats(), spare_page_.data()},
      PaddedRows(work));
  LCKV_CHECK(batch.counts(false).rows <= limits_.max_rows);
  LCKV_CHECK(batch.num_logit_rows() <= limits_.max_logit_rows);
  LCKV_CHECK(batch.bytes().size() <= step_.size_bytes());
  backend.CopyToDevice(step_.data(), batch.bytes().data(), batch.bytes().size());
  recordings_.Run(batch.shape(), [&] { Compute(batch); });

  Output output;
  output.token = Sample(batch, work);
  output.kv_change = KvChanges(batch, work);
  // A step that has nothing to tell is not waited for: the next ones find its errors.
  if (batch.num_logit_rows() > 0 || !batch.measured_layers().empty()) {
    LCKV_RETURN_IF_ERROR(backend.Synchronize());
  }
  output.logits = logits_.floats();
  output.num_logit_rows = batch.num_logit_rows();
  return output;
}

void Transformer::Compute(const StepBatch& batch) {
  const ModelConfig& config = model_->config();
  Backend& backend = model_->backend();
  rows_ = hidden_.floats();
  const int32_t embedded = batch.first_embedded_row();
  backend.Embed({&model_->embedding(), batch.tokens() + embedded,
                 batch.counts(false).rows - embedded, Hidden(embedded)});
  backend.CopyRows(batch.loaded());
  const std::vector<int>& measured = batch.measured_layers();
  bool after_drop = false;
  for (int layer = 0; layer < config.num_layers; ++layer) {
    Rows rows = ActiveRows(batch, layer, after_drop);
    Rows stored;  // those whose K/V the layer produces
    if (rows.count > 0) {
      Normalize(model_->layer(layer).input_norm, rows);
      if (config.layer_map.is_producer(layer)) {
        if (!LooksUpKv(layer)) ProjectKv(layer, rows);
        stored = rows;
      }
      if (layer == batch.top_target()) rows = rows.Without(batch.counts(after_drop).drafts);
    }
    if (layer == last_producer_) {
      DropRows(batch, layer);
      after_drop = true;
      rows = ActiveRows(batch, layer, after_drop);
    }
    if (rows.count > 0) ProjectQueries(layer, rows);
    RopeAndStore(batch, layer, rows, stored);
    const auto it = std::find(measured.begin(), measured.end(), layer);
    if (it != measured.end()) {
      MeasureChange(batch, layer, static_cast<size_t>(it - measured.begin()));
    }
    if (rows.count > 0) {
      AttentionBlock(batch, layer, rows);
      MlpBlock(layer, rows);
    }
    if (layer + 1 == batch.stage().end) backend.CopyRows(batch.saved());
  }
  Logits(batch);
}

void Transformer::Normalize(const DeviceBuffer& norm, const Rows& rows) {
  const ModelConfig& config = model_->config();
  model_->backend().RmsNorm({Hidden(rows.begin), norm.floats(), config.rms_norm_eps, rows.count,
                             config.hidden_size, Normed(rows.begin)});
}

bool Transformer::LooksUpKv(int layer) const { return layer == 0 && model_->layer0_k() != nullptr; }

void Transformer::ProjectKv(int layer, const Rows& rows) {
  const LayerWeights& weights = model_->layer(layer);
  Backend& backend = model_->backend();
  const Activations x = Normed(rows.begin);
  backend.Linear({weights.k.get(), x, weights.k_bias.floats(), rows.count, false, k_.floats()});
  backend.Linear({weights.v.get(), x, weights.v_bias.floats(), rows.count, false, v_.floats()});
}

void Transformer::ProjectQueries(int layer, const Rows& rows) {
  const LayerWeights& weights = model_->layer(layer);
  model_->backend().Linear({weights.q.get(), Normed(rows.begin), weights.q_bias.floats(),
                            rows.count, false, q_.floats()});
}

void Transformer::RopeAndStore(const StepBatch& batch, int layer, const Rows& queries,
                               const Rows& stored) {
  const ModelConfig& config = model_->config();
  RopeAndStoreParams params;
  params.cos_sin = model_->cos_sin().floats();
  params.queries = {q_.floats(), queries.positions, queries.count, config.num_heads,
                    config.head_dim};
  if (stored.count > 0) {
    const bool looked_up = LooksUpKv(layer);
    KvRows& kv = params.kv;
    kv.k = looked_up ? model_->layer0_k() : k_.floats();
    kv.v = looked_up ? model_->layer0_v() : v_.floats();
    kv.source = looked_up ? batch.tokens() + stored.begin : nullptr;
    kv.positions = stored.positions;
    kv.table_of_row = stored.table_of_row;
    kv.tables = batch.write_tables(layer);
    kv.shape = ShapeOf(layer);
    kv.dtype = layout_->dtype();
    kv.rows = stored.count;
  }
  model_->backend().RopeAndStore(params);
}

void Transformer::MeasureChange(const StepBatch& batch, int layer, size_t index) {
  const StepBatch::Counts& counts = batch.counts(false);
  float* out = kv_change_.floats() + static_cast<int64_t>(index) * limits_.max_rows + counts.drafts;
  model_->backend().KvChange(
      {batch.positions(false) + counts.drafts, batch.table_of_row(false) + counts.drafts,
       batch.previous_tables(layer), batch.write_tables(layer), ShapeOf(layer), layout_->dtype(),
       counts.staged - counts.drafts, out});
}

void Transformer::DropRows(const StepBatch& batch, int layer) {
  const int32_t rows = batch.counts(true).rows;
  if (rows == batch.counts(false).rows) return;
  model_->backend().GatherRows({hidden_.floats(), batch.kept_rows(), rows,
                                model_->config().hidden_size, kept_hidden_.floats()});
  rows_ = kept_hidden_.floats();
  Normalize(model_->layer(layer).input_norm, ActiveRows(batch, layer, true));
}

void Transformer::AttentionBlock(const StepBatch& batch, int layer, const Rows& rows) {
  const ModelConfig& config = model_->config();
  const LayerWeights& weights = model_->layer(layer);
  Backend& backend = model_->backend();
  AttentionParams attention;
  attention.q = q_.floats();
  attention.positions = rows.positions;
  attention.table_of_row = rows.table_of_row;
  attention.tables = batch.read_tables(layer);
  attention.shape = ShapeOf(config.layer_map.source(layer));
  attention.dtype = layout_->dtype();
  attention.rows = rows.count;
  attention.decode_rows = rows.decode;
  attention.heads = config.num_heads;
  attention.window = config.layer_map.windowed(layer) ? config.sliding_window : 0;
  attention.nodiag = config.nodiag(layer);
  attention.scale = 1.0f / std::sqrt(static_cast<float>(config.head_dim));
  attention.max_position = backend.can_record() ? limits_.max_context - 1 : batch.max_position();
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
  float* const gathered = rows_ == hidden_.floats() ? kept_hidden_.floats() : hidden_.floats();
  backend.GatherRows({rows_, batch.logit_rows(), rows, config.hidden_size, gathered});
  backend.RmsNorm({gathered, model_->final_norm().floats(), config.rms_norm_eps, rows,
                   config.hidden_size, Normed(0)});
  backend.Linear({&model_->lm_head(), Normed(0), nullptr, rows, false, logits_.floats()});
}

std::vector<int32_t> Transformer::Sample(const StepBatch& batch,
                                         absl::Span<const SequenceWork> work) {
  std::vector<int32_t> chosen(work.size(), -1);
  if (batch.samples() == nullptr) return chosen;
  const int32_t rows = batch.num_logit_rows();
  std::vector<int32_t> tokens(static_cast<size_t>(rows));
  Backend& backend = model_->backend();
  backend.Sample(
      {logits_.floats(), batch.samples(), rows, model_->config().vocab_size, tokens_.ints()});
  backend.CopyToHost(tokens.data(), tokens_.data(), tokens.size() * sizeof(int32_t));
  for (size_t i = 0; i < work.size(); ++i) {
    const int32_t row = batch.placement(i).first_logit_row;
    if (row >= 0 && work[i].sample.has_value()) chosen[i] = tokens[static_cast<size_t>(row)];
  }
  return chosen;
}

std::vector<float> Transformer::KvChanges(const StepBatch& batch,
                                          absl::Span<const SequenceWork> work) {
  std::vector<float> changes(work.size(), 0.0f);
  const auto max_rows = static_cast<size_t>(limits_.max_rows);
  const std::vector<int>& measured = batch.measured_layers();
  std::vector<float> rows(max_rows * measured.size());
  if (rows.empty()) return changes;
  model_->backend().CopyToHost(rows.data(), kv_change_.data(), rows.size() * sizeof(float));
  for (size_t i = 0; i < work.size(); ++i) {
    if (!batch.placement(i).measured) continue;
    for (size_t layer = 0; layer < measured.size(); ++layer) {
      const auto first =
          rows.begin() + static_cast<int64_t>(layer * max_rows) + batch.placement(i).first_row;
      changes[i] = std::max(changes[i], *std::max_element(first, first + work[i].item.rows()));
    }
  }
  return changes;
}

}  // namespace lckv
