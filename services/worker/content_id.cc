#include "services/worker/content_id.h"

#include <algorithm>

#include "base/check.h"

namespace lckv::worker {
namespace {

constexpr absl::string_view kDomain = "lckv-page-1";

class Hasher {
 public:
  void U32(uint32_t value) {
    const uint8_t bytes[4] = {static_cast<uint8_t>(value), static_cast<uint8_t>(value >> 8),
                              static_cast<uint8_t>(value >> 16), static_cast<uint8_t>(value >> 24)};
    sha_.Update(bytes, sizeof(bytes));
  }
  void String(absl::string_view text) {
    U32(static_cast<uint32_t>(text.size()));
    sha_.Update(text);
  }
  void Raw(const Sha256Digest& digest) { sha_.Update(digest.data(), digest.size()); }
  Sha256Digest Finish() { return sha_.Finish(); }

 private:
  Sha256 sha_;
};

}  // namespace

Sha256Digest PageContentId(const ContentContext& context, const Sha256Digest& parent,
                           absl::Span<const int32_t> page_tokens,
                           absl::Span<const uint32_t> segment_starts) {
  Hasher hasher;
  hasher.String(kDomain);
  hasher.String(context.tenant_salt);
  hasher.String(context.fingerprint);
  hasher.String(context.numerics_class);
  hasher.U32(context.passes);
  hasher.Raw(parent);
  hasher.U32(static_cast<uint32_t>(page_tokens.size()));
  for (const int32_t token : page_tokens) hasher.U32(static_cast<uint32_t>(token));
  hasher.U32(static_cast<uint32_t>(segment_starts.size()));
  for (const uint32_t start : segment_starts) hasher.U32(start);
  return hasher.Finish();
}

std::vector<uint32_t> SegmentStarts(absl::Span<const SegmentRun> segments, int64_t begin,
                                    int64_t count) {
  const int64_t end = begin + count;
  LCKV_CHECK(begin >= 0 && count >= 0 && end <= TotalTokens(segments));
  std::vector<uint32_t> starts;
  int64_t position = 0;
  for (const SegmentRun& run : segments) {
    const int64_t run_end = position + run.tokens;
    if (run.each_token) {
      for (int64_t p = std::max(position, begin); p < std::min(run_end, end); ++p) {
        starts.push_back(static_cast<uint32_t>(p - begin));
      }
    } else if (position >= begin && position < end) {
      starts.push_back(static_cast<uint32_t>(position - begin));
    }
    position = run_end;
  }
  return starts;
}

}  // namespace lckv::worker
