#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "engine/encode/segment.h"
#include "engine/runtime/engine.h"
#include "engine/runtime/turn_stream.h"
#include "lckv/v1/cache.pb.h"
#include "services/worker/session_key.h"

namespace lckv::worker {

// What a session's manifest is held against.
struct ModelIdentity {
  std::string fingerprint;  // 32 bytes
  std::string numerics_class;
  int32_t tokens_per_page = 0;
  uint64_t page_bytes = 0;
  int32_t vocab_size = 0;
};
ModelIdentity IdentityOf(const Engine& engine);

// Between the protocol's types and the engine's.
EncodePolicy ToEnginePolicy(const v1::EncodePolicy& policy);
v1::EncodePolicy ToProtoPolicy(const EncodePolicy& policy);
v1::FinishReason ToProtoReason(FinishReason reason);
std::vector<SegmentRun> ToEngineSegments(const v1::Manifest& manifest);
void SetTranscript(absl::Span<const int32_t> tokens, absl::Span<const SegmentRun> segments,
                   v1::Manifest* manifest);

// Checks what a cache node sent: consistent in itself (cache/image/manifest.h), of this session,
// and of a transcript that this model can have. DATA_LOSS names the field.
absl::Status CheckStoredManifest(const v1::Manifest& manifest, const SessionKey& key,
                                 const ModelIdentity& model);

// The pages of a checked manifest if they have this model's layout; otherwise none.
std::vector<v1::PageEntry> UsablePages(const v1::Manifest& manifest, const ModelIdentity& model);

// Positions that pages cover.
template <typename Pages>
int64_t TokensIn(const Pages& pages) {
  int64_t tokens = 0;
  for (const v1::PageEntry& page : pages) tokens += page.tokens();
  return tokens;
}

}  // namespace lckv::worker
