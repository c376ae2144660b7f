#include "engine/transformer/step_batch.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace lckv {
namespace {

constexpr size_t kAlignment = 64;

size_t Aligned(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

bool Staged(const WorkItem& item) { return item.stage != WorkItem::kAllLayers; }

// 0: draft rows, 1: final staged rows, 2: rows of all layers, 3: those that come alone.
int RowClass(const WorkItem& item) {
  if (!Staged(item)) return item.rows() == 1 ? 3 : 2;
  return item.final_pass() ? 1 : 0;
}

// The rows at the end that have another table than their neighbours.
int32_t DecodeRows(const std::vector<int32_t>& table_of_row) {
  size_t begin = table_of_row.size();
  while (begin > 0 && (begin == 1 || table_of_row[begin - 1] != table_of_row[begin - 2])) --begin;
  return static_cast<int32_t>(table_of_row.size() - begin);
}

}  // namespace

StepBatch::StepBatch(const ModelConfig& config, const PageLayout& layout,
                     const PassLayout& pass_layout, absl::Span<const SequenceWork> work,
                     const Memory& memory, int32_t padded_rows)
    : config_(config),
      layout_(layout),
      pass_layout_(pass_layout),
      memory_(memory),
      sequences_(std::max(static_cast<int32_t>(work.size()), padded_rows)) {
  last_producer_ = config.layer_map.producers().back();
  PlaceRows(work);
  DropRows(work);
  AddRowCopies(work);
  PlacePages(work);
  AddTables(work);
  AddPages();
}

StepShape StepBatch::shape() const {
  return {counts_.drafts,      counts_.staged,    counts_.rows,        counts_.decode,
          kept_counts_.staged, kept_counts_.rows, kept_counts_.decode, num_logit_rows_,
          stage_.begin,        stage_.end,        sequences_};
}

CopyRowsParams StepBatch::Copy(const RowCopies& copies, int32_t rows) const {
  return {At<const float*>(copies.from), At<float*>(copies.to), rows, config_.hidden_size};
}

template <typename T>
size_t StepBatch::Append(absl::Span<const T> values) {
  const size_t offset = Aligned(bytes_.size());
  bytes_.resize(offset + values.size() * sizeof(T));
  if (!values.empty())
    std::memcpy(bytes_.data() + offset, values.data(), values.size() * sizeof(T));
  return offset;
}

void StepBatch::PlaceRows(absl::Span<const SequenceWork> work) {
  for (size_t i = 0; i < work.size(); ++i) order_.push_back(i);
  std::stable_sort(order_.begin(), order_.end(), [&](size_t a, size_t b) {
    return RowClass(work[a].item) < RowClass(work[b].item);
  });
  placements_.resize(work.size());
  std::vector<int32_t> tokens;
  int32_t stage_index = WorkItem::kAllLayers;
  for (size_t i : order_) {
    const WorkItem& item = work[i].item;
    LCKV_CHECK(item.rows() > 0);
    placements_[i].first_row = static_cast<int32_t>(tokens.size());
    if (Staged(item)) {
      LCKV_CHECK(stage_index == WorkItem::kAllLayers || stage_index == item.stage);
      LCKV_CHECK(work[i].slot != nullptr);
      stage_index = item.stage;
      placements_[i].measured = item.final_pass() && item.passes > 1;
    }
    for (int32_t position = item.begin; position < item.end; ++position) {
      const bool last = position + 1 == item.end;
      tokens.push_back(work[i].tokens[position - item.begin]);
      position_of_row_.push_back(position);
      sequence_of_row_.push_back(static_cast<int32_t>(i));
      logits_of_row_.push_back(work[i].logits == LogitsWanted::kAll ||
                               (last && work[i].logits == LogitsWanted::kLast));
    }
    const auto end = static_cast<int32_t>(tokens.size());
    if (RowClass(item) == 0) counts_.drafts = end;
    if (Staged(item)) counts_.staged = end;
    max_position_ = std::max(max_position_, item.end - 1);
  }
  counts_.staged = std::max(counts_.staged, counts_.drafts);
  for (auto row = static_cast<int32_t>(work.size()); row < sequences_; ++row) {
    LCKV_CHECK(static_cast<int32_t>(tokens.size()) == row);  // every item is one row
    tokens.push_back(0);
    position_of_row_.push_back(0);
    sequence_of_row_.push_back(row);
    logits_of_row_.push_back(true);
  }
  counts_.rows = static_cast<int32_t>(tokens.size());
  counts_.decode = DecodeRows(sequence_of_row_);
  if (stage_index != WorkItem::kAllLayers) {
    stage_ = config_.layer_map.runs()[static_cast<size_t>(stage_index)];
    for (int layer = stage_.begin; stage_.cyclic && layer < stage_.end; ++layer) {
      if (!config_.layer_map.is_upward_target(layer)) continue;
      top_target_ = layer;
      if (counts_.staged > counts_.drafts) measured_layers_.push_back(layer);
    }
  }
  tokens_ = Append<int32_t>(tokens);
  positions_ = Append<int32_t>(position_of_row_);
  tables_of_row_ = Append<int32_t>(sequence_of_row_);
}

void StepBatch::DropRows(absl::Span<const SequenceWork> work) {
  // Staged rows leave the last layer in this step only if their stage reaches it; otherwise their
  // hidden states are wanted.
  const bool stage_ends_here = stage_.end == config_.num_layers;
  std::vector<int32_t> kept, positions, tables, logit_rows;
  std::vector<SampleRow> samples;
  for (int32_t row = counts_.drafts; row < counts_.rows; ++row) {
    const auto index = static_cast<size_t>(row);
    const bool staged = row < counts_.staged;
    const bool leaves = !staged || stage_ends_here;
    const bool wanted = leaves && logits_of_row_[index];
    const bool waits = staged && (!stage_ends_here || stage_.begin > last_producer_);
    if (!wanted && !waits) continue;
    if (wanted) {
      const auto sequence = static_cast<size_t>(sequence_of_row_[index]);
      if (sequence < placements_.size() && placements_[sequence].first_logit_row < 0) {
        placements_[sequence].first_logit_row = static_cast<int32_t>(logit_rows.size());
      }
      logit_rows.push_back(static_cast<int32_t>(kept.size()));
      samples.push_back(SampleRow{});
      if (sequence < work.size() && work[sequence].sample.has_value()) {
        samples.back() = *work[sequence].sample;
        sampled_ = true;
      }
    }
    kept.push_back(row);
    positions.push_back(position_of_row_[index]);
    tables.push_back(sequence_of_row_[index]);
    if (staged) kept_counts_.staged = static_cast<int32_t>(kept.size());
  }
  kept_counts_.rows = static_cast<int32_t>(kept.size());
  kept_counts_.decode = DecodeRows(tables);
  num_logit_rows_ = static_cast<int32_t>(logit_rows.size());
  kept_rows_ = Append<int32_t>(kept);
  kept_positions_ = Append<int32_t>(positions);
  kept_tables_of_row_ = Append<int32_t>(tables);
  logit_rows_ = Append<int32_t>(logit_rows);
  samples_ = Append<SampleRow>(samples);
}

// Staged items only. At the end of a stage the drop, if there was one, has kept every final row in
// order and no draft row.
void StepBatch::AddRowCopies(absl::Span<const SequenceWork> work) {
  const bool dropped = last_producer_ < stage_.end && kept_counts_.rows != counts_.rows;
  const float* const rows_in_the_end = dropped ? memory_.kept_hidden : memory_.hidden;
  const int32_t shift = dropped ? counts_.drafts : 0;
  const bool loads = stage_.begin > 0;
  const bool saves = stage_.end < config_.num_layers;
  std::vector<const float*> loaded_from, saved_from;
  std::vector<float*> loaded_to, saved_to;
  const int64_t size = config_.hidden_size;
  for (size_t i : order_) {
    const WorkItem& item = work[i].item;
    if (!Staged(item)) continue;
    float* const slot = work[i].slot->hidden() + (item.begin - item.segment_begin) * size;
    for (int64_t row = 0; row < item.rows(); ++row) {
      const int64_t in_batch = placements_[i].first_row + row;
      if (loads) {
        loaded_from.push_back(slot + row * size);
        loaded_to.push_back(memory_.hidden + in_batch * size);
      }
      if (saves && item.final_pass()) {
        saved_from.push_back(rows_in_the_end + (in_batch - shift) * size);
        saved_to.push_back(slot + row * size);
      }
    }
  }
  num_loaded_ = static_cast<int32_t>(loaded_from.size());
  num_saved_ = static_cast<int32_t>(saved_from.size());
  loaded_ = {Append<const float*>(loaded_from), Append<float*>(loaded_to)};
  saved_ = {Append<const float*>(saved_from), Append<float*>(saved_to)};
}

bool StepBatch::InStage(int layer, const SequenceWork& work) const {
  return Staged(work.item) && layer >= stage_.begin && layer < stage_.end;
}

KvTable StepBatch::PagesOnly(int layer, size_t sequence, int32_t split) const {
  KvTable table;
  table.past_pages = At<void*>(page_arrays_[sequence]);
  table.own_pages = table.past_pages;
  table.past_offset_bytes = layout_.FindLayer(layer)->offset_bytes;
  table.own_offset_bytes = table.past_offset_bytes;
  table.split = split;
  return table;
}

KvTable StepBatch::PassCopy(int layer, const SequenceWork& work, size_t sequence, int copy) const {
  KvTable table = PagesOnly(layer, sequence, work.item.segment_begin);
  table.own_pages = At<void*>(copy_arrays_[sequence][static_cast<size_t>(copy)]);
  table.own_first_page = work.item.segment_begin / layout_.tokens_per_page();
  table.own_offset_bytes = pass_layout_.offset_bytes(layer);
  return table;
}

KvTable StepBatch::ReadTable(int layer, const SequenceWork& work, size_t sequence) const {
  const LayerMap& map = config_.layer_map;
  const int source = map.source(layer);
  const WorkItem& item = work.item;
  const KvTable pages = PagesOnly(source, sequence, item.segment_begin);
  const bool handed_on = InStage(layer, work) && stage_.cyclic && source >= stage_.begin &&
                         map.is_upward_target(source);
  if (!handed_on) return pages;
  const bool reads_previous = source > layer || (source == layer && config_.nodiag(layer));
  if (!reads_previous) {
    return item.final_pass() ? pages : PassCopy(source, work, sequence, item.pass % 2);
  }
  if (item.pass > 0) return PassCopy(source, work, sequence, (item.pass - 1) % 2);
  KvTable past_only = pages;
  past_only.visible_end = item.segment_begin;
  return past_only;
}

KvTable StepBatch::WriteTable(int layer, const SequenceWork& work, size_t sequence) const {
  const bool draft = InStage(layer, work) && stage_.cyclic && !work.item.final_pass() &&
                     config_.layer_map.is_upward_target(layer);
  if (draft) return PassCopy(layer, work, sequence, work.item.pass % 2);
  return PagesOnly(layer, sequence, work.item.segment_begin);
}

bool StepBatch::IsMeasured(int layer) const {
  return std::binary_search(measured_layers_.begin(), measured_layers_.end(), layer);
}

// Where the arrays of addresses will lie, behind all tables.
void StepBatch::PlacePages(absl::Span<const SequenceWork> work) {
  size_t tables = measured_layers_.size();
  for (int layer = 0; layer < config_.num_layers; ++layer) {
    tables += size_t{1} + (config_.layer_map.is_producer(layer) ? 1 : 0);
  }
  const size_t table_bytes = Aligned(static_cast<size_t>(sequences_) * sizeof(KvTable));
  size_t end = Aligned(bytes_.size()) + tables * table_bytes;
  const auto place = [&](absl::Span<void* const> pages) {
    const size_t offset = end;
    placed_pages_.push_back({offset, pages});
    end = Aligned(offset + pages.size() * sizeof(void*));
    return offset;
  };
  spare_pages_ = place({&memory_.spare_page, 1});
  for (const SequenceWork& sequence : work) {
    page_arrays_.push_back(place(sequence.pages));
    std::array<size_t, 2> copies = {0, 0};
    for (size_t copy = 0; sequence.slot != nullptr && copy < 2; ++copy) {
      copies[copy] = place(sequence.slot->pages(static_cast<int>(copy)));
    }
    copy_arrays_.push_back(copies);
  }
}

void StepBatch::AddPages() {
  for (const PageArray& placed : placed_pages_) {
    const size_t offset = Append<void*>(placed.pages);
    LCKV_CHECK(offset == placed.offset);
  }
}

void StepBatch::AddTables(absl::Span<const SequenceWork> work) {
  // Padding: its rows see nothing, and write where nobody reads.
  KvTable nothing;
  nothing.past_pages = At<void*>(spare_pages_);
  nothing.own_pages = nothing.past_pages;
  nothing.visible_end = 0;
  const auto add = [&](auto&& make) {
    std::vector<KvTable> tables(static_cast<size_t>(sequences_), nothing);
    for (size_t i = 0; i < work.size(); ++i) tables[i] = make(work[i], i);
    return Append<KvTable>(tables);
  };
  for (int layer = 0; layer < config_.num_layers; ++layer) {
    read_tables_.push_back(
        add([&](const SequenceWork& w, size_t i) { return ReadTable(layer, w, i); }));
    const bool producer = config_.layer_map.is_producer(layer);
    write_tables_.push_back(!producer ? 0 : add([&](const SequenceWork& w, size_t i) {
      return WriteTable(layer, w, i);
    }));
    previous_tables_.push_back(!IsMeasured(layer) ? 0 : add([&](const SequenceWork& w, size_t i) {
      // Sequences without an earlier pass compare with themselves; nobody reads their result.
      return placements_[i].measured ? PassCopy(layer, w, i, (w.item.passes - 2) % 2)
                                     : WriteTable(layer, w, i);
    }));
  }
}

}  // namespace lckv
