#include "engine/encode/segment_cursor.h"

#include <algorithm>

#include "base/check.h"

namespace lckv {

SegmentCursor::SegmentCursor(const LayerMap* layer_map, absl::Span<const SegmentRun> segments,
                             int32_t begin, int32_t end, int32_t passes, bool all_logits)
    : layer_map_(layer_map),
      segments_(segments.begin(), segments.end()),
      end_(end),
      passes_(passes),
      all_logits_(all_logits),
      position_(begin) {
  LCKV_CHECK(begin >= 0 && begin <= end && passes >= 1);
  LCKV_CHECK(TotalTokens(segments) >= end);
  last_producer_ = layer_map->producers().back();
  EnterSegment();
}

void SegmentCursor::EnterSegment() {
  if (done()) return;
  int32_t begin = 0;
  for (const SegmentRun& run : segments_) {
    const int32_t run_end = begin + run.tokens;
    if (position_ < run_end) {
      segment_begin_ = begin;
      segment_end_ = std::min(run_end, end_);
      each_token_ = run.each_token;
      break;
    }
    begin = run_end;
  }
  stage_ = 0;
  pass_ = 0;
  chunk_begin_ = segment_begin_;
  if (staged()) LCKV_CHECK(position_ == segment_begin_);
}

bool SegmentCursor::staged() const {
  return layer_map_->cyclic() && !each_token_ && segment_end_ - segment_begin_ > 1;
}

bool SegmentCursor::needs_slot() const { return !done() && staged(); }

int32_t SegmentCursor::StagePasses(int32_t stage) const {
  const LayerRun& run = layer_map_->runs()[static_cast<size_t>(stage)];
  return run.cyclic ? std::min(passes_, segment_end_ - segment_begin_) : 1;
}

int32_t SegmentCursor::StageBegin(int32_t stage) const {
  const LayerRun& run = layer_map_->runs()[static_cast<size_t>(stage)];
  const bool only_logits = run.begin > last_producer_ && !all_logits_;
  return only_logits ? segment_end_ - 1 : segment_begin_;
}

WorkItem SegmentCursor::Next(int32_t max_rows) const {
  LCKV_CHECK(!done() && max_rows > 0);
  WorkItem item;
  if (!staged()) {
    item.begin = position_;
    // An acyclic map may take what it likes; a cyclic one single tokens only.
    item.end = layer_map_->cyclic() ? position_ + 1 : std::min(end_, position_ + max_rows);
    item.segment_begin = position_;
    return item;
  }
  item.stage = stage_;
  item.pass = pass_;
  item.passes = StagePasses(stage_);
  item.begin = chunk_begin_;
  item.end = std::min(segment_end_, chunk_begin_ + max_rows);
  item.segment_begin = segment_begin_;
  return item;
}

void SegmentCursor::Advance(const WorkItem& item) {
  if (!staged()) {
    LCKV_CHECK(item.stage == WorkItem::kAllLayers && item.begin == position_);
    position_ = item.end;
    if (!done() && position_ >= segment_end_) EnterSegment();
    return;
  }
  LCKV_CHECK(item.stage == stage_ && item.pass == pass_ && item.begin == chunk_begin_);
  chunk_begin_ = item.end;
  if (chunk_begin_ < segment_end_) return;
  if (++pass_ == StagePasses(stage_)) {
    pass_ = 0;
    ++stage_;
  }
  if (stage_ == static_cast<int32_t>(layer_map_->runs().size())) {
    position_ = segment_end_;
    EnterSegment();
    return;
  }
  chunk_begin_ = StageBegin(stage_);
}

}  // namespace lckv
