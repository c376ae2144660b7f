#include "engine/encode/segment.h"

#include <algorithm>

#include "base/check.h"

namespace lckv {
namespace {

void AppendRun(SegmentRun run, std::vector<SegmentRun>& segments) {
  if (run.each_token && !segments.empty() && segments.back().each_token) {
    segments.back().tokens += run.tokens;
  } else {
    segments.push_back(run);
  }
}

}  // namespace

void AppendInput(const EncodePolicy& policy, int32_t tokens, std::vector<SegmentRun>& segments) {
  LCKV_CHECK(tokens >= 0);
  if (tokens == 0) return;
  if (policy.sequential) return AppendRun({tokens, true}, segments);
  for (int32_t left = tokens; left > 0; left -= kMaxSegmentTokens) {
    AppendRun({std::min(left, kMaxSegmentTokens), false}, segments);
  }
}

void AppendGenerated(std::vector<SegmentRun>& segments) { AppendRun({1, true}, segments); }

void TruncateSegments(int32_t tokens, std::vector<SegmentRun>& segments) {
  LCKV_CHECK(tokens >= 0);
  size_t kept = 0;
  for (int32_t left = tokens; left > 0; ++kept) {
    LCKV_CHECK(kept < segments.size());
    segments[kept].tokens = std::min(segments[kept].tokens, left);
    left -= segments[kept].tokens;
  }
  segments.resize(kept);
}

int64_t TotalTokens(absl::Span<const SegmentRun> segments) {
  int64_t total = 0;
  for (const SegmentRun& run : segments) total += run.tokens;
  return total;
}

int32_t UsableKvTokens(absl::Span<const SegmentRun> segments, int32_t kv_tokens, bool cyclic) {
  if (!cyclic) return kv_tokens;
  int32_t begin = 0;
  for (const SegmentRun& run : segments) {
    const int32_t end = begin + run.tokens;
    if (kv_tokens < end) return run.each_token ? kv_tokens : begin;
    begin = end;
  }
  return begin;
}

}  // namespace lckv
