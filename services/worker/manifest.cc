#include "services/worker/manifest.h"

#include "absl/strings/str_cat.h"
#include "cache/image/manifest.h"

namespace lckv::worker {
namespace {

absl::Status Malformed(absl::string_view field, absl::string_view what) {
  return absl::DataLossError(absl::StrCat("manifest.", field, ": ", what));
}

}  // namespace

ModelIdentity IdentityOf(const Engine& engine) {
  ModelIdentity identity;
  const Sha256Digest& fingerprint = engine.fingerprint();
  identity.fingerprint.assign(fingerprint.begin(), fingerprint.end());
  identity.numerics_class = std::string(engine.numerics_class());
  identity.tokens_per_page = engine.page_layout().tokens_per_page();
  identity.page_bytes = static_cast<uint64_t>(engine.page_layout().page_bytes());
  identity.vocab_size = engine.config().vocab_size;
  return identity;
}

EncodePolicy ToEnginePolicy(const v1::EncodePolicy& policy) {
  EncodePolicy result;
  result.sequential = policy.mode() == v1::EncodePolicy::SEQUENTIAL;
  result.passes = static_cast<int32_t>(policy.passes());
  return result;
}

v1::EncodePolicy ToProtoPolicy(const EncodePolicy& policy) {
  v1::EncodePolicy result;
  result.set_mode(policy.sequential ? v1::EncodePolicy::SEQUENTIAL : v1::EncodePolicy::ITERATED);
  result.set_passes(static_cast<uint32_t>(policy.passes));
  return result;
}

v1::FinishReason ToProtoReason(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return v1::STOP;
    case FinishReason::kLength:
      return v1::LENGTH;
    case FinishReason::kContext:
      return v1::CONTEXT;
    case FinishReason::kCancelled:
      return v1::CANCELLED;
  }
  return v1::FINISH_REASON_UNSPECIFIED;
}

std::vector<SegmentRun> ToEngineSegments(const v1::Manifest& manifest) {
  std::vector<SegmentRun> segments;
  segments.reserve(static_cast<size_t>(manifest.segments_size()));
  for (const v1::Segment& segment : manifest.segments()) {
    segments.push_back({static_cast<int32_t>(segment.tokens()), segment.each_token()});
  }
  return segments;
}

void SetTranscript(absl::Span<const int32_t> tokens, absl::Span<const SegmentRun> segments,
                   v1::Manifest* manifest) {
  manifest->mutable_tokens()->Assign(tokens.begin(), tokens.end());
  manifest->clear_segments();
  for (const SegmentRun& run : segments) {
    v1::Segment* segment = manifest->add_segments();
    segment->set_tokens(static_cast<uint32_t>(run.tokens));
    segment->set_each_token(run.each_token);
  }
}

absl::Status CheckStoredManifest(const v1::Manifest& manifest, const SessionKey& key,
                                 const ModelIdentity& model) {
  if (const absl::Status status = ValidateManifest(manifest); !status.ok()) {
    return absl::DataLossError(status.message());
  }
  if (manifest.tenant() != key.tenant || manifest.session_id() != key.session_id) {
    return Malformed("session_id", "of another session");
  }
  for (const int32_t token : manifest.tokens()) {
    if (token >= model.vocab_size) return Malformed("tokens", absl::StrCat(token));
  }
  for (const v1::Segment& segment : manifest.segments()) {
    if (!segment.each_token() && segment.tokens() > static_cast<uint32_t>(kMaxSegmentTokens)) {
      return Malformed("segments", absl::StrCat("one of ", segment.tokens(), " tokens"));
    }
  }
  return absl::OkStatus();
}

std::vector<v1::PageEntry> UsablePages(const v1::Manifest& manifest, const ModelIdentity& model) {
  if (manifest.fingerprint() != model.fingerprint ||
      manifest.tokens_per_page() != static_cast<uint32_t>(model.tokens_per_page) ||
      manifest.page_bytes() != model.page_bytes) {
    return {};
  }
  return {manifest.pages().begin(), manifest.pages().end()};
}

}  // namespace lckv::worker
