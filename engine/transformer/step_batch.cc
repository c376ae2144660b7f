#include "engine/transformer/step_batch.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "base/units.h"

namespace lckv {
namespace {

constexpr size_t kAlignment = 64;

bool Staged(const WorkItem& item) { return item.stage != WorkItem::kAllLayers; }

// 0: draft rows, 1: final staged rows, 2: rows of all layers.
int RowClass(const WorkItem& item) {
  if (!Staged(item)) return 2;
  return item.final_pass() ? 1 : 0;
}

}  // namespace

StepBatch::StepBatch(const ModelConfig& config, const PageLayout& layout,
                     const PassLayout& pass_layout, absl::Span<const SequenceWork> work,
                     const uint8_t* base)
    : config_(config), layout_(layout), pass_layout_(pass_layout), base_(base) {
  last_producer_ = config.layer_map.producers().back();
  PlaceRows(work);
  DropRows();
  AddTables(work);
}

template <typename T>
size_t StepBatch::Append(absl::Span<const T> values) {
  const size_t offset =
      static_cast<size_t>(RoundUp(static_cast<int64_t>(bytes_.size()), kAlignment));
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
  counts_.rows = static_cast<int32_t>(tokens.size());
  if (stage_index != WorkItem::kAllLayers) {
    stage_ = config_.layer_map.runs()[static_cast<size_t>(stage_index)];
    for (int layer = stage_.begin; stage_.cyclic && layer < stage_.end; ++layer) {
      if (config_.layer_map.is_upward_target(layer)) top_target_ = layer;
    }
  }
  tokens_ = Append<int32_t>(tokens);
  positions_ = Append<int32_t>(position_of_row_);
  tables_of_row_ = Append<int32_t>(sequence_of_row_);
}

void StepBatch::DropRows() {
  // Staged rows leave the last layer in this step only if their stage reaches it; otherwise their
  // hidden states are wanted.
  const bool stage_ends_here = stage_.end == config_.num_layers;
  std::vector<int32_t> kept, positions, tables, logit_rows;
  for (int32_t row = counts_.drafts; row < counts_.rows; ++row) {
    const auto index = static_cast<size_t>(row);
    const bool staged = row < counts_.staged;
    const bool leaves = !staged || stage_ends_here;
    const bool wanted = leaves && logits_of_row_[index];
    const bool waits = staged && (!stage_ends_here || stage_.begin > last_producer_);
    if (!wanted && !waits) continue;
    if (wanted) {
      Placement& placement = placements_[static_cast<size_t>(sequence_of_row_[index])];
      if (placement.first_logit_row < 0) {
        placement.first_logit_row = static_cast<int32_t>(logit_rows.size());
      }
      logit_rows.push_back(static_cast<int32_t>(kept.size()));
    }
    kept.push_back(row);
    positions.push_back(position_of_row_[index]);
    tables.push_back(sequence_of_row_[index]);
    if (staged) kept_counts_.staged = static_cast<int32_t>(kept.size());
  }
  kept_counts_.rows = static_cast<int32_t>(kept.size());
  num_logit_rows_ = static_cast<int32_t>(logit_rows.size());
  kept_rows_ = Append<int32_t>(kept);
  kept_positions_ = Append<int32_t>(positions);
  kept_tables_of_row_ = Append<int32_t>(tables);
  logit_rows_ = Append<int32_t>(logit_rows);
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

void StepBatch::AddTables(absl::Span<const SequenceWork> work) {
  for (const SequenceWork& sequence : work) {
    page_arrays_.push_back(Append<void*>(sequence.pages));
    std::array<size_t, 2> copies = {0, 0};
    for (size_t copy = 0; sequence.slot != nullptr && copy < 2; ++copy) {
      copies[copy] = Append<void*>(sequence.slot->pages(static_cast<int>(copy)));
    }
    copy_arrays_.push_back(copies);
  }
  const auto add = [&](auto&& make) {
    std::vector<KvTable> tables;
    for (size_t i = 0; i < work.size(); ++i) tables.push_back(make(work[i], i));
    return Append<KvTable>(tables);
  };
  for (int layer = 0; layer < config_.num_layers; ++layer) {
    read_tables_.push_back(
        add([&](const SequenceWork& w, size_t i) { return ReadTable(layer, w, i); }));
    const bool producer = config_.layer_map.is_producer(layer);
    write_tables_.push_back(!producer ? 0 : add([&](const SequenceWork& w, size_t i) {
      return WriteTable(layer, w, i);
    }));
    const bool measured = stage_.cyclic && layer >= stage_.begin && layer < stage_.end &&
                          config_.layer_map.is_upward_target(layer);
    previous_tables_.push_back(!measured ? 0 : add([&](const SequenceWork& w, size_t i) {
      // Sequences without an earlier pass compare with themselves; nobody reads their result.
      return placements_[i].measured ? PassCopy(layer, w, i, (w.item.passes - 2) % 2)
                                     : WriteTable(layer, w, i);
    }));
  }
}

}  // namespace lckv
