#pragma once

#include <cstdint>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "base/sha256.h"
#include "engine/encode/segment.h"

namespace lckv::worker {

// What, besides the tokens, decides the bits of a session's pages.
struct ContentContext {
  absl::string_view tenant_salt;
  absl::string_view fingerprint;  // 32 bytes
  absl::string_view numerics_class;
  uint32_t passes = 0;  // K in effect
};

// The content id of a full page (design section 6): sessions of one tenant with the same beginning
// have the same ids. SHA-256 over, integers as little-endian u32, strings with their length in
// front:
//
//   "lckv-page-1" · tenant_salt · fingerprint · numerics_class · passes
//   · parent (32 bytes; zeros for page 0)
//   · number of tokens, token ids · number of segment starts, their offsets in the page
Sha256Digest PageContentId(const ContentContext& context, const Sha256Digest& parent,
                           absl::Span<const int32_t> page_tokens,
                           absl::Span<const uint32_t> segment_starts);

// Offsets, relative to `begin`, of the positions in [begin, begin + count) where a segment starts.
// REQUIRES: the segments cover them.
std::vector<uint32_t> SegmentStarts(absl::Span<const SegmentRun> segments, int64_t begin,
                                    int64_t count);

}  // namespace lckv::worker
