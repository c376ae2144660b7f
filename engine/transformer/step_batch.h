#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/types/span.h"
#include "engine/encode/segment_cursor.h"
#include "engine/kv/page_layout.h"
#include "engine/model/model_config.h"
#include "engine/ops/kv_table.h"
#include "engine/ops/op_params.h"
#include "engine/transformer/pass_buffers.h"
#include "engine/transformer/step_recordings.h"

namespace lckv {

enum class LogitsWanted { kNone, kLast, kAll };

// One sequence's part of a step.
struct SequenceWork {
  WorkItem item;
  const int32_t* tokens = nullptr;   // host: ids of positions [item.begin, item.end)
  absl::Span<void* const> pages;     // addresses of the KV pages of positions [0, item.end)
  const EncodeSlot* slot = nullptr;  // of staged items
  LogitsWanted logits = LogitsWanted::kNone;  // of the item's rows, when they leave the last layer
  std::optional<SampleRow> sample;            // with kLast: choose a token from the logits, too
};

// The rows of one step in the order in which the transformer keeps them, and everything about them
// that ops read, as host memory with the layout that is then copied to the backend in one piece.
// Rows come in three classes, in this order, so that the rows of any layer are one contiguous
// range:
//
//   [0, drafts)           staged, not the last pass of a cyclic stage: stop at the K/V of the
//   stage's topmost upward target [drafts, staged)      staged, last (or only) pass [staged, rows)
//   all layers, those alone of their sequence last
//
// What varies in size with the sequences' lengths, their page lists, comes last: of steps with
// equal shape() everything else lies at the same places.
//
// All staged items of a step are of one stage. At the last producing layer, once K/V are stored,
// rows that nobody wants anything more from are dropped: see `kept`.
class StepBatch {
 public:
  struct Counts {
    int32_t drafts = 0;
    int32_t staged = 0;
    int32_t rows = 0;
    int32_t decode = 0;  // at the end: rows of another sequence than their neighbours
  };

  // Where the step happens, in backend memory.
  struct Memory {
    const uint8_t* base = nullptr;  // what bytes() will be copied to: tables point into it
    float* hidden = nullptr;        // [rows][hidden_size] before the drop
    float* kept_hidden = nullptr;   // after it, if rows are dropped
    void* spare_page = nullptr;     // for rows of padding
  };
  // `padded_rows` > work.size(), allowed if every item is a decode row: as many rows and sequences;
  // those beyond `work` see nothing, write to the spare page, and have logits that nobody wants.
  StepBatch(const ModelConfig& config, const PageLayout& layout, const PassLayout& pass_layout,
            absl::Span<const SequenceWork> work, const Memory& memory, int32_t padded_rows);

  StepShape shape() const;

  const std::vector<uint8_t>& bytes() const { return bytes_; }

  // Before the drop and after it.
  const Counts& counts(bool after_drop) const { return after_drop ? kept_counts_ : counts_; }
  const int32_t* tokens() const { return At<int32_t>(tokens_); }
  const int32_t* positions(bool after_drop) const {
    return At<int32_t>(after_drop ? kept_positions_ : positions_);
  }
  const int32_t* table_of_row(bool after_drop) const {
    return At<int32_t>(after_drop ? kept_tables_of_row_ : tables_of_row_);
  }
  // Rows that stay at the drop, ascending.
  const int32_t* kept_rows() const { return At<int32_t>(kept_rows_); }
  // Rows that begin in their slots: copied from there before the first layer of a later stage.
  CopyRowsParams loaded() const { return Copy(loaded_, num_loaded_); }
  // Rows that end their stage here: copied to their slots behind its last layer.
  CopyRowsParams saved() const { return Copy(saved_, num_saved_); }
  // Rows (after the drop) whose logits are wanted.
  const int32_t* logit_rows() const { return At<int32_t>(logit_rows_); }
  int32_t num_logit_rows() const { return num_logit_rows_; }
  // How each of them becomes a token (greedily, for sequences that want none); null: no sequence
  // wants one.
  const SampleRow* samples() const { return sampled_ ? At<SampleRow>(samples_) : nullptr; }
  int32_t max_position() const { return max_position_; }

  // Tables of all sequences for a layer: what its queries read, and where its own K/V go (producers
  // only).
  const KvTable* read_tables(int layer) const {
    return At<KvTable>(read_tables_[static_cast<size_t>(layer)]);
  }
  const KvTable* write_tables(int layer) const {
    return At<KvTable>(write_tables_[static_cast<size_t>(layer)]);
  }
  // The pass before the last. REQUIRES: `layer` is one of measured_layers().
  const KvTable* previous_tables(int layer) const {
    return At<KvTable>(previous_tables_[static_cast<size_t>(layer)]);
  }

  // The stage of the staged rows; [0, 0) when there are none.
  const LayerRun& stage() const { return stage_; }
  // Draft rows stop at this layer's K/V; -1 when the stage is not cyclic.
  int top_target() const { return top_target_; }
  // The upward targets, ascending, whose last two passes this step compares: those of a cyclic
  // stage with final rows.
  const std::vector<int>& measured_layers() const { return measured_layers_; }
  // Embedding starts at this row: staged rows of a later stage come from their slots.
  int32_t first_embedded_row() const { return stage_.begin > 0 ? counts_.staged : 0; }

  // Of work[i]: its rows [first_row, first_row + item.rows()) before the drop; the index of its
  // first logits row or -1.
  struct Placement {
    int32_t first_row = 0;
    int32_t first_logit_row = -1;
    bool measured = false;  // final rows of a cyclic stage with a pass before
  };
  const Placement& placement(size_t i) const { return placements_[i]; }

 private:
  // An array of page addresses that will lie at `offset` in bytes_.
  struct PageArray {
    size_t offset;
    absl::Span<void* const> pages;
  };
  // Offsets of two arrays of addresses in bytes_.
  struct RowCopies {
    size_t from = 0;
    size_t to = 0;
  };
  template <typename T>
  const T* At(size_t offset) const {
    return reinterpret_cast<const T*>(memory_.base + offset);
  }
  template <typename T>
  size_t Append(absl::Span<const T> values);
  CopyRowsParams Copy(const RowCopies& copies, int32_t rows) const;

  void PlaceRows(absl::Span<const SequenceWork> work);
  void DropRows(absl::Span<const SequenceWork> work);
  void AddRowCopies(absl::Span<const SequenceWork> work);
  void PlacePages(absl::Span<const SequenceWork> work);
  void AddTables(absl::Span<const SequenceWork> work);
  void AddPages();
  bool IsMeasured(int layer) const;
  KvTable ReadTable(int layer, const SequenceWork& work, size_t sequence) const;
  KvTable WriteTable(int layer, const SequenceWork& work, size_t sequence) const;
  KvTable PagesOnly(int layer, size_t sequence, int32_t split) const;
  KvTable PassCopy(int layer, const SequenceWork& work, size_t sequence, int copy) const;
  bool InStage(int layer, const SequenceWork& work) const;

  const ModelConfig& config_;
  const PageLayout& layout_;
  const PassLayout& pass_layout_;
  const Memory memory_;
  int32_t sequences_ = 0;  // padding included
  std::vector<uint8_t> bytes_;

  LayerRun stage_;
  int top_target_ = -1;
  std::vector<int> measured_layers_;
  int last_producer_ = 0;
  Counts counts_, kept_counts_;
  int32_t num_logit_rows_ = 0;
  int32_t max_position_ = 0;
  std::vector<Placement> placements_;
  std::vector<size_t> order_;             // work indices in row order
  std::vector<int32_t> sequence_of_row_;  // host copies used while building
  std::vector<int32_t> position_of_row_;
  std::vector<bool> logits_of_row_;

  size_t tokens_ = 0, positions_ = 0, tables_of_row_ = 0;
  RowCopies loaded_, saved_;
  int32_t num_loaded_ = 0, num_saved_ = 0;
  size_t kept_rows_ = 0, kept_positions_ = 0, kept_tables_of_row_ = 0, logit_rows_ = 0;
  std::vector<PageArray> placed_pages_;
  size_t spare_pages_ = 0;  // the one page of padding
  size_t samples_ = 0;
  bool sampled_ = false;                            // some rows are
  std::vector<size_t> page_arrays_;                 // per sequence: its KV pages
  std::vector<std::array<size_t, 2>> copy_arrays_;  // per sequence: its slot's pass copies
  std::vector<size_t> read_tables_, write_tables_, previous_tables_;
};

}  // namespace lckv
