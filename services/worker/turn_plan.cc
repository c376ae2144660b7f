#include "services/worker/turn_plan.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error_info.h"
#include "services/worker/manifest.h"

namespace lckv::worker {
namespace {

std::vector<SegmentRun> Cut(std::vector<SegmentRun> segments, int32_t tokens) {
  TruncateSegments(tokens, segments);
  return segments;
}

}  // namespace

AttemptKind ClassifyAttempt(const v1::Manifest& manifest, absl::string_view turn_id) {
  if (manifest.version() == 0 || turn_id.empty() || manifest.last_turn_id() != turn_id) {
    return AttemptKind::kFresh;
  }
  return manifest.last_finish_reason() == v1::CANCELLED ? AttemptKind::kReopened
                                                        : AttemptKind::kRepeat;
}

absl::Span<const int32_t> LastTurnReply(const v1::Manifest& manifest) {
  const uint32_t begin = manifest.last_turn_begin() + manifest.last_turn_input_tokens();
  return absl::MakeConstSpan(manifest.tokens().data(), manifest.committed_tokens()).subspan(begin);
}

absl::Status CheckVersion(uint64_t expected, uint64_t version) {
  if (expected == version) return absl::OkStatus();
  return WithErrorInfo(absl::AbortedError(absl::StrCat("the session is at version ", version,
                                                       ", expected was ", expected)),
                       {kReasonVersionConflict, {{"version", absl::StrCat(version)}}});
}

absl::Status CheckResumed(absl::Span<const int32_t> resume_from, absl::Span<const int32_t> reply) {
  const size_t common = std::min(resume_from.size(), reply.size());
  if (std::equal(resume_from.begin(), resume_from.begin() + common, reply.begin())) {
    return absl::OkStatus();
  }
  return WithErrorInfo(
      absl::AbortedError("resume_from is not what the session's committed turn generated"),
      {kReasonVersionConflict, {}});
}

Opening PlanOpening(const v1::Manifest& manifest, const EncodePolicy& policy,
                    absl::Span<const int32_t> input, absl::Span<const int32_t> resume_from) {
  const std::vector<SegmentRun> stored = ToEngineSegments(manifest);
  const auto committed = static_cast<int32_t>(manifest.committed_tokens());
  Opening opening;
  opening.tokens = committed;
  opening.segments = Cut(stored, committed);

  const auto draft =
      absl::MakeConstSpan(manifest.tokens().data(), static_cast<size_t>(manifest.tokens_size()))
          .subspan(manifest.committed_tokens());
  if (manifest.kv_tokens() <= manifest.committed_tokens() || draft.size() < input.size() ||
      !std::equal(input.begin(), input.end(), draft.begin())) {
    return opening;
  }
  const auto generated = draft.subspan(input.size());
  size_t resumed = 0;
  while (resumed < generated.size() && resumed < resume_from.size() &&
         generated[resumed] == resume_from[resumed]) {
    ++resumed;
  }
  std::vector<SegmentRun> segments = opening.segments;
  AppendInput(policy, static_cast<int32_t>(input.size()), segments);
  for (size_t i = 0; i < resumed; ++i) AppendGenerated(segments);
  const auto adopted = static_cast<int32_t>(input.size() + resumed);
  if (adopted == 0 || Cut(stored, committed + adopted) != segments) return opening;

  opening.tokens += adopted;
  opening.segments = std::move(segments);
  opening.input_adopted = true;
  opening.resumed_adopted = static_cast<int32_t>(resumed);
  return opening;
}

}  // namespace lckv::worker
