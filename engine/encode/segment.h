#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace lckv {

// Tokens evaluated together (design section 4), written as runs: one segment of `tokens` tokens,
// or, with each_token, `tokens` segments of one token each (generated tokens, and input under the
// sequential policy).
struct SegmentRun {
  int32_t tokens = 0;
  bool each_token = false;
  friend bool operator==(const SegmentRun&, const SegmentRun&) = default;
};

// An input longer than this is cut: bounds the memory that encoding a segment needs.
inline constexpr int32_t kMaxSegmentTokens = 4096;

// Most passes a session may ask for.
inline constexpr int32_t kMaxPasses = 64;

// How a session's input segments are encoded; recorded in the session, so that any worker computes
// the same bits again.
struct EncodePolicy {
  bool sequential = false;  // every token a segment
  int32_t passes = 0;       // K; 0: the model's default
};

// Appends `tokens` input tokens under `policy`: cut into segments of at most kMaxSegmentTokens, or
// joined to a run of single ones.
void AppendInput(const EncodePolicy& policy, int32_t tokens, std::vector<SegmentRun>& segments);
// Appends one generated token.
void AppendGenerated(std::vector<SegmentRun>& segments);
// Keeps the first `tokens` tokens. REQUIRES: no more than are there.
void TruncateSegments(int32_t tokens, std::vector<SegmentRun>& segments);
int64_t TotalTokens(absl::Span<const SegmentRun> segments);

// The longest prefix of KV [0, kv_tokens) from which evaluation can go on: for a cyclic map a
// segment that was begun has to be evaluated again from its first token (its passes need each
// other), so the prefix ends at a segment border.
int32_t UsableKvTokens(absl::Span<const SegmentRun> segments, int32_t kv_tokens, bool cyclic);

}  // namespace lckv
