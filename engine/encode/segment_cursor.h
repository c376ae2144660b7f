#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "engine/encode/segment.h"
#include "engine/model/layer_map.h"

namespace lckv {

// What one sequence evaluates in one step: tokens [begin, end), through
//   * every layer (stage == kAllLayers): a generated token, a single-token segment, or any run of
//   tokens of an acyclic map; or
//   * one stage of the segment encoder: the layers of run `stage` of the layer map, pass `pass` of
//   `passes`.
struct WorkItem {
  static constexpr int32_t kAllLayers = -1;
  int32_t begin = 0;
  int32_t end = 0;
  int32_t stage = kAllLayers;
  int32_t pass = 0;
  int32_t passes = 1;
  int32_t segment_begin = 0;  // tokens before it are the past of the segment

  int32_t rows() const { return end - begin; }
  bool final_pass() const { return pass + 1 == passes; }
};

// Walks through the evaluation of known tokens, segment by segment, stage by stage, pass by pass,
// chunk by chunk (design section 4): the one place that knows the order. Pure: no memory, no model.
// Chunking never changes a bit, so `max_rows` may differ from call to call.
//
//   cyclic map, iterated segment of n > 1 tokens: each run of the layer map is a stage; a cyclic
//   run gets min(n, K) passes, the others one. Stages above the last producer see only the tokens
//   whose logits are wanted. everything else: all layers at once; a cyclic map takes single tokens
//   one by one.
class SegmentCursor {
 public:
  // Evaluates positions [begin, end) of the transcript that `segments` cover. REQUIRES: `begin` is
  // 0 or a position where evaluation may start (UsableKvTokens). `layer_map` and must outlive the
  // cursor. `all_logits`: every token's logits are wanted, else the last one's.
  SegmentCursor(const LayerMap* layer_map, absl::Span<const SegmentRun> segments, int32_t begin,
                int32_t end, int32_t passes, bool all_logits);

  bool done() const { return position_ >= end_; }
  // The next item, at most `max_rows` rows. REQUIRES: !done(), max_rows > 0.
  WorkItem Next(int32_t max_rows) const;
  // Marks `item`, which Next returned, as evaluated. More tokens than before may be in
  // `kv_tokens()` then.
  void Advance(const WorkItem& item);

  // All tokens before this position have their final KV.
  int32_t kv_tokens() const { return position_; }
  // The next item needs an encode slot: hidden states and pass buffers of a segment.
  bool needs_slot() const;
  // The segment being evaluated: [begin, end). For slots and reports.
  int32_t segment_begin() const { return segment_begin_; }
  int32_t segment_end() const { return segment_end_; }

 private:
  void EnterSegment();
  int32_t StagePasses(int32_t stage) const;
  int32_t StageBegin(int32_t stage) const;
  bool staged() const;

  const LayerMap* layer_map_;
  std::vector<SegmentRun> segments_;
  int32_t end_;
  int32_t passes_;
  bool all_logits_;
  int32_t last_producer_ = 0;

  int32_t position_;  // final KV before it; the next token to evaluate outside stages
  int32_t segment_begin_ = 0;
  int32_t segment_end_ = 0;
  bool each_token_ = false;
  int32_t stage_ = 0;
  int32_t pass_ = 0;
  int32_t chunk_begin_ = 0;
};

}  // namespace lckv
